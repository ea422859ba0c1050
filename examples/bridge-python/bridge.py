"""A bridge that brings messages to a file, or by HTTP, and loses none: what the broker
has acknowledged to a publisher, and a crash of the broker or of this program does not change that.

The broker keeps the queue. A batch is acknowledged when it is safe on the other side."""

import base64
import json
import os
import urllib.request

from patchbay_plugin import Plugin, message, value

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["topics"],
    "properties": {
        "topics": {"type": "array", "minItems": 1, "items": {"type": "string"}, "description": "Topic Filters of the messages."},
        "file": {"type": "string", "minLength": 1, "description": "Append a line of JSON for each message to this file."},
        "url": {"type": "string", "pattern": "^https?://", "description": "POST a batch of such lines to this URL instead."},
        "timeout": {"type": "number", "minimum": 0.1, "maximum": 25, "default": 10, "description": "How long an answer may take, in seconds."},
    },
}


class Bridge(Plugin):
    def __init__(self):
        self.to = None
        self.trouble = ""

    def describe(self, request):
        return message(
            "Manifest", name="bridge-python", version="1.0.0", author="Patchbay", config_schema=json.dumps(SCHEMA),
            description="Brings messages to a file or by HTTP, each at least once.",
            # Which topics, the config says; see start.
            consumers=[self.consumer(["#"])])

    def consumer(self, topics):
        return message("Consumer", name="out", topic_filters=topics, fields=value("Field", "FIELD_PAYLOAD"),
                       max_batch=256, deadline_ms=30_000, retry_after_ms=500)

    def start(self, request):
        config = json.loads(request.config)
        if ("file" in config) == ("url" in config):
            return message("StartResponse", problems=[message("Problem", message="one of file and url says where to bring the messages")])
        try:
            self.to = File(config["file"]) if "file" in config else Web(config["url"], config.get("timeout", 10))
        except OSError as e:
            return message("StartResponse", problems=[message("Problem", pointer="/file", message=str(e))])
        self.host.log("INFO", "started", to=config.get("file") or config["url"], pid=os.getpid())
        return message("StartResponse", narrowed=message("Narrowed", consumers=[self.consumer(config["topics"])]))

    def health(self, request):
        if self.trouble:
            return message("HealthResponse", status=value("HealthStatus", "HEALTH_STATUS_DEGRADED"), message=self.trouble)
        return message("HealthResponse")

    def consume(self, batch):
        lines = "".join(line(d, batch.clients) for d in batch.deliveries).encode()
        try:
            self.to.write(lines)
        except OSError as e:  # URLError is one
            # Nothing of the batch is acknowledged, so that all of it comes again, in its order.
            self.trouble = f"{e}"[:200]
            return message("ConsumeResult", error=self.trouble)
        self.trouble = ""
        return message("ConsumeResult", acknowledged_offset=batch.deliveries[-1].offset)


def line(d, clients):
    """One message as JSON. The offset tells a message that comes twice."""
    m = d.message
    out = {"offset": d.offset, "topic": m.topic, "qos": m.qos, "time_ms": m.received_ms}
    if d.client:
        out["client"] = clients[d.client - 1].client_id
    try:
        out["payload"] = m.payload.decode()
    except UnicodeDecodeError:
        out["payload_base64"] = base64.b64encode(m.payload).decode()
    return json.dumps(out, ensure_ascii=False) + "\n"


class File:
    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.cut()

    def cut(self):
        """Takes half a line away that a crash has left; its message comes again."""
        size = keep = os.fstat(self.file).st_size
        while keep > 0:
            begin = max(keep - 4096, 0)
            at = os.pread(self.file, keep - begin, begin).rfind(b"\n")
            if at >= 0:
                keep = begin + at + 1
                break
            keep = begin
        if keep < size:
            os.ftruncate(self.file, keep)

    def write(self, lines):
        try:
            while lines:
                lines = lines[os.write(self.file, lines):]
            os.fsync(self.file)  # only now it is safe
        except OSError:
            self.cut()
            raise


class Web:
    def __init__(self, url, timeout):
        self.url, self.timeout = url, timeout

    def write(self, lines):
        request = urllib.request.Request(self.url, lines, {"Content-Type": "application/x-ndjson"})
        with urllib.request.urlopen(request, timeout=self.timeout):
            pass  # urlopen raises for all but 2xx and redirects
