"""Notes: a page that shows lines and takes new ones. Nothing but Python's standard library, and no Dockerfile.

Settings come from the environment: PORT (8000), NOTES, the file that keeps them (notes.txt beside this program).
"""

import html
import os
import pathlib
import signal
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8000"))
NOTES = pathlib.Path(os.environ.get("NOTES", pathlib.Path(__file__).parent / "notes.txt"))
LONGEST = 500  # characters of a note
SHOWN = 100

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Notes</title>
<h1>Notes</h1>
<form method="post"><input name="note" maxlength="{longest}" required> <button>Keep</button></form>
<ul>{notes}</ul>
"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        lines = NOTES.read_text().splitlines()[-SHOWN:] if NOTES.exists() else []
        notes = "".join(f"<li>{html.escape(line)}" for line in reversed(lines))
        self.answer(200, PAGE.format(longest=LONGEST, notes=notes))

    def do_POST(self):
        form = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 8 * LONGEST)).decode(errors="replace")
        note = " ".join(urllib.parse.parse_qs(form).get("note", [""])[0].split())[:LONGEST]
        if note:
            with NOTES.open("a") as file:
                file.write(note + "\n")
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"notes on port {PORT}, kept in {NOTES}", flush=True)
    ThreadingHTTPServer(("", PORT), Page).serve_forever()
