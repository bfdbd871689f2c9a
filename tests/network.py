"""An S3-compatible server, a server of files, and a proxy that fails as networks do, all on this machine."""

import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class FaultyProxy:
    """Passes HTTP requests on to a server, one for each connection, and spoils those that a test chooses."""

    def __init__(self, server):
        self.server, self.seen, self._faults = server, [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def fault(self, kind, request, times=10**9):
        """Spoil the next requests whose first line contains some text: kind "drop", "half", "busy" or "stall".

        "drop" loses the request, "half" the end of the answer.
        """
        fault = [kind, request.encode(), times]
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve_and_close, args=(client,), daemon=True).start()

    def _serve_and_close(self, client):
        try:
            self._serve(client)
            client.shutdown(socket.SHUT_RDWR)  # at once, although another thread still reads from it
        except OSError:  # the client has gone
            pass
        finally:
            client.close()

    def _serve(self, client):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = client.recv(65536)
            if not piece:
                return
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.seen.append(lines[0].decode())
        kind = self._fault_of(lines[0])
        if kind == "drop":
            return
        if any(line.lower() == b"expect: 100-continue" for line in lines):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            lines = [line for line in lines if not line.lower().startswith(b"expect:")]
        if kind == "busy":
            self._read_body(client, lines, body)
            client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if kind == "stall":
            time.sleep(1.5)
            return
        lines = [line for line in lines if not line.lower().startswith(b"connection:")]
        with socket.create_connection(self.server) as server:
            server.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            answer = b""
            while piece := server.recv(65536):
                answer += piece
        if kind == "half":
            content = len(answer.partition(b"\r\n\r\n")[2])
            answer = answer[: len(answer) - content // 2 - 1] if content else b""
        client.sendall(answer)

    def _fault_of(self, line):
        for fault in self._faults:
            if fault[1] in line and fault[2]:
                fault[2] -= 1
                return fault[0]
        return ""

    def _read_body(self, client, lines, body):
        length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
        while len(body) < length and (piece := client.recv(65536)):
            body += piece


def _pump(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass


@contextmanager
def serve_files(folder):
    """Serve a folder over HTTP, as Python's own server does; yield its address as (host, port)."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[:2]
    finally:
        server.shutdown()
        server.server_close()
