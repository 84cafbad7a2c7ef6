#!/usr/bin/env python3
"""A guestbook: one page that shows and adds rows of a PostgreSQL table.

Settings come from the environment: DATABASE_URL (required), PORT (8000). What visitors write is a parameter of every
statement and is escaped in every page. When the database goes away, a request waits for it a little, then says so.
"""

import html
import os
import queue
import signal
import socket
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

DATABASE_URL = os.environ["DATABASE_URL"]
PORT = int(os.environ.get("PORT", "8000"))
PATIENCE = 20  # seconds that a request waits for the database
LONGEST_NAME, LONGEST_TEXT = 60, 500
LONGEST_FORM = 8 * (LONGEST_NAME + LONGEST_TEXT)  # bytes, percent-encoded
SHOWN = 50

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL,
    text    text NOT NULL,
    written timestamptz NOT NULL DEFAULT now()
)"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<style>
  body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto; padding: 0 1rem; color: #223; background: #f6f8fa }}
  h1 {{ margin: 0 }}
  p.about {{ color: #667; margin-top: .2rem }}
  form, li {{ background: #fff; border: 1px solid #dde3ea; border-radius: .6rem; padding: 1rem }}
  form {{ display: grid; gap: .6rem }}
  input, textarea, button {{ font: inherit; padding: .5rem .7rem; border: 1px solid #c6d0da; border-radius: .4rem }}
  button {{ background: #1d63ed; color: #fff; border: 0; justify-self: start; cursor: pointer }}
  ul {{ list-style: none; padding: 0 }}
  li {{ margin: .7rem 0 }}
  li p {{ margin: .2rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere }}
  small {{ color: #667 }}
</style>
<h1>Guestbook</h1>
<p class="about">{count} so far. Served by {host}.</p>
<form method="post" action="/">
  <input name="name" placeholder="Your name" maxlength="{longest_name}" required>
  <textarea name="text" placeholder="What do you want to say?" rows="3" maxlength="{longest_text}" required></textarea>
  <button>Write</button>
</form>
<ul>
{entries}
</ul>
"""

ENTRY = "<li><strong>{name}</strong> <small>{written}</small><p>{text}</p></li>"


class Database:
    """A few connections, kept between requests and made again when they break."""

    def __init__(self, connections=8):
        self.idle = queue.LifoQueue()
        for _ in range(connections):
            self.idle.put(None)

    def run(self, work, patience=PATIENCE):
        """Calls `work` with a cursor in one transaction. A transaction that the database's end cut off is tried again."""
        until = time.monotonic() + patience
        pause = 0.05
        while True:
            connection = self.idle.get()
            try:
                connection = connection or self.connect()
                with connection, connection.cursor() as cursor:
                    return work(cursor)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if connection is not None:
                    connection.close()
                connection = None
                if time.monotonic() + pause > until:
                    raise
            finally:
                self.idle.put(connection)
            time.sleep(pause)
            pause = min(pause * 2, 1)

    @staticmethod
    def connect():
        connection = psycopg2.connect(DATABASE_URL, connect_timeout=3)
        with connection, connection.cursor() as cursor:
            # Two first visitors at once must not both make the table.
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            cursor.execute(SCHEMA)
        return connection


DATABASE = Database()


def add(name, text):
    DATABASE.run(lambda cursor: cursor.execute("INSERT INTO entry (name, text) VALUES (%s, %s)", (name, text)))


def newest():
    def work(cursor):
        cursor.execute("SELECT count(*) FROM entry")
        (count,) = cursor.fetchone()
        cursor.execute("SELECT name, text, written FROM entry ORDER BY id DESC LIMIT %s", (SHOWN,))
        return count, cursor.fetchall()

    return DATABASE.run(work)


def page():
    count, rows = newest()
    entries = (
        ENTRY.format(name=html.escape(name), text=html.escape(text), written=written.strftime("%d %b %Y, %H:%M"))
        for name, text, written in rows
    )
    return PAGE.format(
        count="One entry" if count == 1 else f"{count} entries",
        host=html.escape(socket.gethostname()),
        entries="\n".join(entries),
        longest_name=LONGEST_NAME,
        longest_text=LONGEST_TEXT,
    )


class Guestbook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "guestbook"
    timeout = 30

    def do_GET(self):
        if self.path == "/health":
            return self.answer(lambda: DATABASE.run(lambda cursor: cursor.execute("SELECT 1"), patience=2) or "ok\n", "text/plain")
        if self.path != "/":
            return self.reply(404, "text/plain", "not found\n")
        self.answer(page, "text/html")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST_FORM:
            self.close_connection = True
            return self.reply(413, "text/plain", "too long\n")
        form = urllib.parse.parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        name, text = (form.get(field, [""])[0].strip().replace("\0", "") for field in ("name", "text"))
        if self.path != "/" or not name or not text or len(name) > LONGEST_NAME or len(text) > LONGEST_TEXT:
            return self.reply(400, "text/plain", "a name and a text are needed, and not too long\n")

        def work():
            add(name, text)
            return ""

        # Reloading the page that follows must not write again.
        self.answer(work, "text/plain", code=303, headers={"Location": "/"})

    def answer(self, work, kind, code=200, headers=None):
        try:
            body = work()
        except psycopg2.Error as error:
            self.log_error("database: %s", str(error).strip())
            return self.reply(503, "text/plain", "the database does not answer, please try again\n", {"Retry-After": "2"})
        self.reply(code, kind, body, headers)

    def reply(self, code, kind, body, headers=None):
        body = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


def main():
    server = ThreadingHTTPServer(("", PORT), Guestbook)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on port {PORT}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
