# Makes a C++ source of the status page: cmake -DPAGE=… -DOUTPUT=… -P embed_page.cmake
file(READ "${PAGE}" text)
file(WRITE "${OUTPUT}" "// Made of status_page.html by embed_page.cmake.\n"
    "#include \"daemon/status_page_text.h\"\n\n"
    "namespace schemux::daemon {\n\n"
    "const std::string_view status_page_text = R\"page(${text})page\";\n\n"
    "}  // namespace schemux::daemon\n")
