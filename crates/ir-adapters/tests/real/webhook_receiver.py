"""Receives webhooks, checks them by the library of Standard Webhooks, and writes what it took into a file, an id a line."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

port, secret, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
webhook = Webhook(secret)
tries = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            content = webhook.verify(body, dict(self.headers.items()))
        except WebhookVerificationError:
            return self.answer(401)
        name = self.headers["webhook-id"]
        tries[name] = tries.get(name, 0) + 1
        # Every third delivery fails at first.
        if content["seq"] % 3 == 0 and tries[name] == 1:
            return self.answer(503)
        with open(path, "a") as file:
            file.write(f"{name} {content['type']}\n")
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Handler).serve_forever()
