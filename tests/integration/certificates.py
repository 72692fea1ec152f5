"""Throwaway certificates for the TLS tests, made by the `openssl` program.

One authority, certificates of it, and a list of those it revoked. It must not know schemux.
"""

import pathlib
import subprocess

_EXTENSIONS = """
[v3_ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:false
subjectAltName = IP:127.0.0.1, DNS:localhost
[ca]
default_ca = here
[here]
database = {folder}/index.txt
crlnumber = {folder}/crlnumber
default_md = sha256
default_crl_days = 30
[req]
distinguished_name = name
[name]
"""


class Authority:
    """Signs certificates into its folder: `<name>.crt` and `<name>.key`."""

    def __init__(self, folder, name="authority"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = self.folder / "openssl.cnf"
        self.settings.write_text(_EXTENSIONS.format(folder=self.folder))
        (self.folder / "index.txt").write_text("")
        (self.folder / "crlnumber").write_text("01\n")
        self.certificate = self.folder / "ca.crt"
        self.key = self.folder / "ca.key"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-keyout", self.key, "-out", self.certificate, "-days", "2",
                  "-subj", f"/CN={name}", "-config", self.settings, "-extensions", "v3_ca")

    def _run(self, *command):
        finished = subprocess.run(["openssl", *map(str, command)], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise RuntimeError(f"openssl {command[0]}: {finished.stderr}")

    def sign(self, common_name, file=None, rsa=False, alternatives=()):
        """The paths of a new certificate for this name, and of its key. `alternatives`: further
        names, as "DNS:…" or "URI:…", in place of those of this machine."""
        stem = self.folder / (file or common_name)
        key, request, certificate = (stem.with_suffix(end) for end in (".key", ".csr", ".crt"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self._run("req", "-new", "-newkey", *kind, "-nodes", "-keyout", key, "-out", request,
                  "-subj", f"/CN={common_name}", "-config", self.settings)
        settings = self.settings
        if alternatives:
            settings = stem.with_suffix(".cnf")
            settings.write_text("[leaf]\nbasicConstraints = CA:false\n"
                                f"subjectAltName = {', '.join(alternatives)}\n")
        self._run("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                  "-CAcreateserial", "-days", "2", "-out", certificate, "-extfile", settings,
                  "-extensions", "leaf")
        key.chmod(0o600)
        return certificate, key

    def revoke(self, certificate):
        """The path of the list, which has it from now on."""
        authority = ["-config", self.settings, "-cert", self.certificate, "-keyfile", self.key]
        self._run("ca", *authority, "-revoke", certificate)
        revoked = self.folder / "ca.crl"
        self._run("ca", *authority, "-gencrl", "-out", revoked)
        return revoked
