"""A server that behaves like the Hugging Face Hub, for tests: the list of files, /resolve/ with a redirect to "another host" for large files, ranges.

    hub.py FOLDER LOG        prints its port; FOLDER holds the repositories as ORG/NAME/<files>; LOG gets a line for each request

A repository's name says how it misbehaves: see `Handler.trouble`. Files of 4096 bytes and more are "large" (LFS)."""
import hashlib, json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT, LOG = sys.argv[1], open(sys.argv[2], "a")
LARGE = 4096
lock, counts = threading.Lock(), {}


def commit_of(repository):
    return hashlib.sha1(repository.encode()).hexdigest()


def blob_of(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, text):
        with lock:
            LOG.write(text + "\n")
            LOG.flush()

    def answer(self, code, body=b"", headers=()):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def times(self, key):
        with lock:
            counts[key] = counts.get(key, 0) + 1
            return counts[key]

    def files(self, repository):
        top = os.path.join(ROOT, repository)
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                yield os.path.relpath(path, top), open(path, "rb").read()

    def do_GET(self):
        self.note("%s %s range=%s token=%s" % (self.headers.get("Host"), self.path, self.headers.get("Range"), "Authorization" in self.headers))
        path = self.path.split("?")[0]
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        cdn = re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path)
        if listing:
            self.list(listing[1], listing[2])
        elif resolve:
            self.resolve(resolve[1], resolve[2], resolve[3])
        elif cdn:
            self.send_file(cdn[1], cdn[2])
        else:
            self.answer(404)

    def allowed(self, repository):
        if "private" in repository and self.headers.get("Authorization") != "Bearer secret":
            self.answer(401, b'{"error":"Repository not found"}')
        elif "gated" in repository:
            self.answer(403, b'{"error":"Access to this model is restricted"}')
        elif not os.path.isdir(os.path.join(ROOT, repository)):
            self.answer(404, b'{"error":"not found"}')
        else:
            return True

    def list(self, repository, revision):
        if not self.allowed(repository):
            return
        commit = commit_of(repository)
        if revision not in ("main", "v1.0", "refs%2Fpr%2F1", commit):
            return self.answer(404, b'{"error":"Invalid rev id"}')
        if "notjson" in repository:
            return self.answer(200, b"<html>")
        if "busy" in repository and self.times("list " + repository) < 3:
            return self.answer(503)
        siblings = []
        for name, data in sorted(self.files(repository)):
            entry = {"rfilename": name, "size": len(data), "blobId": blob_of(data)}
            if len(data) >= LARGE:
                sha = hashlib.sha256(data + (b"x" if "wronghash" in repository else b"")).hexdigest()
                entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        if "escape" in repository:
            siblings[0]["rfilename"] = "../../../outside.json"
        if "nohash" in repository:
            siblings[0].pop("blobId")
        self.answer(200, json.dumps({"id": repository, "sha": commit, "siblings": siblings}).encode(), [("Content-Type", "application/json")])

    def resolve(self, repository, revision, name):
        if not self.allowed(repository) or revision != commit_of(repository):
            return
        if os.path.getsize(os.path.join(ROOT, repository, name)) >= LARGE:
            # another host, as a content delivery network is: the token must not follow
            host = "localhost" if self.headers["Host"].startswith("127.") else "127.0.0.1"
            return self.answer(302, b"", [("Location", "http://%s:%d/cdn/%s/%s" % (host, self.server.server_port, repository, name))])
        self.send_file(repository, name)

    def send_file(self, repository, name):
        data = open(os.path.join(ROOT, repository, name), "rb").read()
        total = len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and "noranges" not in repository:
            begin, end = int(asked[1]), min(int(asked[2] or total - 1), total - 1)
            part, code = data[begin : end + 1], 206
            said = total + 1 if "grown" in repository else total
            headers = [("Content-Range", "bytes %d-%d/%d" % (begin, end, said))]
        else:
            begin, part, code, headers = 0, data, 200, []
        if len(data) >= LARGE and self.trouble(repository, name, code, part, headers):
            return
        self.answer(code, part, headers)

    def trouble(self, repository, name, code, part, headers):
        turn = self.times("file %s %s" % (repository, name))
        if "flaky" in repository and turn % 2:
            if turn == 3:
                self.answer(503, b"", [("Retry-After", "1")])
                return True
            # half of what was promised, then silence
            self.send_response(code)
            for header in headers:
                self.send_header(*header)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            return True
        if "slow" in repository:
            self.send_response(code)
            for header in headers:
                self.send_header(*header)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            for at in range(0, len(part), 16384):
                time.sleep(0.1)
                self.wfile.write(part[at : at + 16384])
            return True
        if "broken" in repository:
            self.answer(500)
            return True
        return False


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
