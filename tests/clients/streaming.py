"""What passes through schemux must not stay in it: its memory while a lot is streamed.

Measured is the highest resident size of the process (VmHWM, which writing to clear_refs sets back).
It must not know drivers: bytes are sent as they are.
"""

import pathlib
import socket
import struct
import threading

import wire

MIB = 1024 * 1024
GROWTH_MAX = MIB
STREAMED = 1024 * MIB
LARGE_ROW = 200 * MIB
CHUNK = 64 * 1024
SLOW_BYTES = 5


def status_bytes(process, field):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field}")


def grown(process, work):
    """What `work` returns, and by how much the process was larger at its largest meanwhile."""
    pathlib.Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    before = status_bytes(process, "VmRSS")
    value = work()
    return value, status_bytes(process, "VmHWM") - before


def drain(client):
    """Bytes of answers up to ReadyForQuery, and the command's tag. Keeps nothing else."""
    total, tag = 0, b""
    with client.socket.makefile("rb", buffering=MIB) as stream:
        while True:
            kind, length = struct.unpack("!cI", stream.read(5))
            left = length - 4
            total += left + 5
            body = b""
            while left:
                body = stream.read(min(left, MIB))
                left -= len(body)
            if kind == b"E":
                raise AssertionError(body)
            if kind == b"C":
                tag = body.rstrip(b"\0")
            if kind == b"Z":
                return total, tag.decode()


def copy_out(port, amount):
    with wire.connect(port) as client:
        client.send(wire.query(f"COPY (SELECT repeat('x', {MIB - 1}) FROM "
                               f"generate_series(1, {amount // MIB})) TO STDOUT"))
        total, _ = drain(client)
        assert total >= amount, total


def copy_in(port, amount):
    """The rows are read, counted, and thrown away."""
    rows = b"x" * (MIB // 4 - 1) + b"\n"
    frame = b"".join(wire.copy_data(rows[at:at + CHUNK]) for at in range(0, len(rows), CHUNK))
    with wire.connect(port) as client:
        client.send(wire.query("COPY sink FROM STDIN WHERE false"))
        client.read_until("G")
        for _ in range(amount // len(rows)):
            client.socket.sendall(frame)
        client.send(wire.COPY_DONE)
        assert drain(client)[1] == "COPY 0"


def large_row(port, amount):
    with wire.connect(port) as client:
        client.send(wire.query(f"SELECT repeat('x', {amount})"))
        assert drain(client)[0] >= amount


def large_parameter(port, amount):
    with wire.connect(port) as client:
        client.send(wire.parse("", "SELECT length($1)", (25,)))
        head = b"\0\0" + struct.pack("!HHI", 0, 1, amount)
        client.socket.sendall(struct.pack("!cI", b"B", 4 + len(head) + amount + 2) + head)
        part = b"x" * MIB
        for _ in range(amount // MIB):
            client.socket.sendall(part)
        client.socket.sendall(struct.pack("!H", 0))
        client.send(wire.execute(), wire.SYNC)
        drain(client)


def slow_reader(port, amount):
    """Reads a byte a second, and goes in the middle of it; another client works meanwhile."""
    client = wire.connect(port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(wire.query(f"SELECT repeat('x', {MIB}) FROM generate_series(1, {amount // MIB})"))
    pause = threading.Event()
    for _ in range(SLOW_BYTES):
        assert len(client.socket.recv(1)) == 1
        pause.wait(1)
        with wire.connect(port, "orders") as other:
            assert other.rows("SELECT service FROM who") == [["orders"]]
    client.vanish()


def slow_server(port, amount):
    """The server does not read what the client sends as fast as it can."""
    rows = b"x" * (CHUNK - 1) + b"\n"
    client = wire.connect(port)
    client.send(wire.query("COPY slow_sink FROM STDIN"))
    client.read_until("G")
    client.socket.settimeout(1)
    sent = 0
    try:
        while sent < amount:
            sent += client.socket.send(wire.copy_data(rows))
    except TimeoutError:
        pass
    client.vanish()
    assert sent < amount, "nothing held the client back"


STREAMS = {
    "1 GiB of COPY out": (copy_out, STREAMED), "1 GiB of COPY in": (copy_in, STREAMED),
    "a row of 200 MiB": (large_row, LARGE_ROW),
    "a parameter of 200 MiB": (large_parameter, LARGE_ROW),
    "a client that reads a byte a second": (slow_reader, STREAMED),
    "a server that does not read": (slow_server, STREAMED),
}

SINKS = """
CREATE TABLE users.sink (body text);
CREATE TABLE users.slow_sink (body text);
CREATE FUNCTION users.wait() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE INSERT ON users.slow_sink FOR EACH ROW EXECUTE FUNCTION users.wait();
"""


def check(bed, counts):
    instance = bed.schemux["transaction"]
    with bed.lab.postgres.connect_as_owner() as connection:
        connection.execute(SINKS)
    for name, (stream, amount) in STREAMS.items():
        try:
            # Buffers that are kept for the next one are not what is asked about.
            if stream not in (slow_reader, slow_server):
                stream(instance.port, 16 * MIB)
            _, growth = grown(instance.process, lambda: stream(instance.port, amount))
            print(f"  {name}: {growth // 1024} KiB more", flush=True)
            counts.note(f"streaming {name}",
                        f"grew by {growth} bytes" if growth > GROWTH_MAX else None)
        except Exception as error:
            counts.note(f"streaming {name}", repr(error))


CHECKS = {"streaming": check}
