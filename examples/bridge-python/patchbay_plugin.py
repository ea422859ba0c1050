"""What a plugin of Patchbay in Python needs to be a process that a broker runs.

    from patchbay_plugin import Plugin, message, serve

    class Mine(Plugin):
        def describe(self, request):
            return message("Manifest", name="mine", version="1.0.0")

    serve(Mine())

The contract is sdk/proto of Patchbay: its messages are made from the descriptor set
contract.binpb beside this file, so there is no code to generate. Plugin has the calls of
service Plugin; Host has those of service Host. The rest of this file is the handshake of
hashicorp/go-plugin, which a broker begins with:

  - it sets environment variables: a cookie, its certificate, a folder for sockets,
  - the plugin listens, and says where on standard output, with a certificate of its own,
  - the broker connects (TLS, both sides know the other's certificate), asks a health
    service, and keeps a stream "plugin.GRPCBroker" on which it says where its own
    services are.

gRPC's C core would do all of it but one thing: go-plugin's certificate is of the curve
P-521, which the TLS library inside gRPC does not take. So TLS is Python's own, and gRPC is
behind it, without, on a socket in a folder that only this user can enter.
"""

import asyncio
import base64
import concurrent.futures
import datetime
import os
import pkgutil
import queue
import shutil
import signal
import ssl
import sys
import tempfile
import threading

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

COOKIE_KEY, COOKIE_VALUE = "PATCHBAY_PLUGIN", "patchbay.plugin.v1"
LIFELINE = "PATCHBAY_PLUGIN_LIFELINE"
CORE_PROTOCOL, CONTRACT = 1, 1  # versions: of go-plugin's handshake, of the contract
HOST_SERVICES = 1  # the id under which the broker offers service Host
PACKAGE = "patchbay.plugin.v1"
MAX_MESSAGE = 64 << 20  # bytes of a gRPC message
WORKERS = 16  # calls at once, streams included

_pool = descriptor_pool.DescriptorPool()
_files = {f.name: f for f in descriptor_pb2.FileDescriptorSet.FromString(pkgutil.get_data(__name__, "contract.binpb")).file}


def _add(name):
    """Adds a file to the pool, after those that it imports."""
    if file := _files.pop(name, None):
        for needed in file.dependency:
            _add(needed)
        _pool.Add(file)


for _name in list(_files):
    _add(_name)
# What go-plugin says on its stream: where a service with an id is.
_pool.Add(descriptor_pb2.FileDescriptorProto(
    name="grpc_broker.proto", package="plugin", syntax="proto3",
    message_type=[descriptor_pb2.DescriptorProto(name="ConnInfo", field=[
        descriptor_pb2.FieldDescriptorProto(name="service_id", number=1, type=13, label=1),
        descriptor_pb2.FieldDescriptorProto(name="network", number=2, type=9, label=1),
        descriptor_pb2.FieldDescriptorProto(name="address", number=3, type=9, label=1),
    ])]))
_ConnInfo = message_factory.GetMessageClass(_pool.FindMessageTypeByName("plugin.ConnInfo"))


def kind(name):
    """The class of a message of the contract."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def message(name, /, **fields):
    """A message of the contract: message("Grant", name="kv")."""
    return kind(name)(**fields)


def value(enum, name):
    """A value of an enum of the contract: value("Field", "FIELD_PAYLOAD")."""
    return _pool.FindEnumTypeByName(f"{PACKAGE}.{enum}").values_by_name[name].number


class Plugin:
    """The calls of service Plugin. Override what the plugin needs; an exception is a failure."""

    host = None  # a Host, from start on

    def describe(self, request):
        """Answers a Manifest."""
        raise NotImplementedError

    def start(self, request):
        """Answers a StartResponse; config is JSON in request.config."""
        return message("StartResponse")

    def configure(self, request):
        """Answers a ConfigureResponse. This one has the plugin started anew."""
        return message("ConfigureResponse", restart=True)

    def stop(self, request):
        """Finishes what is under way, and answers a StopResponse."""
        return message("StopResponse")

    def health(self, request):
        """Answers a HealthResponse."""
        return message("HealthResponse")

    def process(self, batch):
        """Answers a Batch of events by an Answer."""
        return message("Answer")

    def consume(self, batch):
        """Answers a ConsumeBatch by a ConsumeResult. Batches of a consumer come one by one."""
        raise NotImplementedError

    def http(self, request):
        """Answers an HttpRequest by an HttpResponse."""
        return message("HttpResponse", status=404)

    def timer(self, request):
        """Answers a TimerFired by a TimerResponse."""
        return message("TimerResponse")


class Host:
    """The broker's services: host.call("Publish", messages=[…]). What a call needs and
    gives is in the contract; one that fails is a grpc.RpcError whose details() say why."""

    def __init__(self, channel):
        self._channel = channel
        self._service = _pool.FindServiceByName(f"{PACKAGE}.Host")

    def call(self, method, /, timeout=30, **fields):
        m = self._service.methods_by_name[method]
        request = message_factory.GetMessageClass(m.input_type)
        response = message_factory.GetMessageClass(m.output_type)
        return self._channel.unary_unary(
            f"/{PACKAGE}.Host/{method}", request.SerializeToString, response.FromString)(request(**fields), timeout=timeout)

    def log(self, level, text, /, **attributes):
        """Writes to the broker's log; level is DEBUG, INFO, WARN or ERROR."""
        pairs = [message("Pair", name=k, value=str(v)) for k, v in attributes.items()]
        record = message("LogRecord", level=value("LogLevel", f"LOG_LEVEL_{level}"), message=text, attributes=pairs)
        self.call("Log", records=[record])


def serve(plugin):
    """Serves a plugin until the broker ends it; the last thing that a program does."""
    if sys.argv[1:] == ["manifest"]:
        print(json_format.MessageToJson(plugin.describe(message("DescribeRequest"))))
        return
    if os.environ.get(COOKIE_KEY) != COOKIE_VALUE:
        sys.exit('This is a plugin of Patchbay: a broker runs it. "manifest" prints what belongs beside it in a plugin folder.')
    if os.environ.get(LIFELINE) == "stdin":
        threading.Thread(target=_end_with_host, daemon=True).start()
    folder = tempfile.mkdtemp(prefix="py", dir=os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or None)
    try:
        _Server(plugin, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_host():
    """Standard input is a pipe that ends when the broker does, however that was."""
    while os.read(0, 4096):
        pass
    os._exit(1)


class _Server:
    def __init__(self, plugin, folder):
        self.plugin, self.folder = plugin, folder
        self.host_address = queue.Queue()
        self.ended = threading.Event()
        self.loop = asyncio.new_event_loop()
        der, self.server_tls, self.client_tls = _keys(folder)
        self.certificate = base64.b64encode(der).decode().rstrip("=")

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self):
        for s in (signal.SIGTERM, signal.SIGINT):  # of Ctrl-C at a terminal only the broker takes notice
            signal.signal(s, (lambda *_: self.ended.set()) if s == signal.SIGTERM else signal.SIG_IGN)
        options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE),
                   ("grpc.http2.min_ping_interval_without_data_ms", 10_000)]
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(WORKERS), options=options)
        server.add_generic_rpc_handlers(self.handlers())
        server.add_insecure_port("unix:" + self.path("inner"))
        server.start()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.relay(self.path("outer"), self.server_tls, self.path("inner"), None)
        print(f"{CORE_PROTOCOL}|{CONTRACT}|unix|{self.path('outer')}|grpc|{self.certificate}", flush=True)
        self.ended.wait()
        server.stop(grace=1).wait()

    def relay(self, listen, listen_tls, to, to_tls):
        """Takes connections at a socket, and passes their bytes to another; TLS on one side."""
        async def accepted(reader, writer):
            try:
                name = {"ssl": to_tls, "server_hostname": "localhost"} if to_tls else {}
                far_reader, far_writer = await asyncio.open_unix_connection(to, **name)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

        asyncio.run_coroutine_threadsafe(asyncio.start_unix_server(accepted, listen, ssl=listen_tls), self.loop).result()

    def connect_host(self):
        """The broker says where its services are before it calls Start, or at the same time."""
        if self.plugin.host is None:
            self.relay(self.path("host"), None, self.host_address.get(timeout=5), self.client_tls)
            options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.default_authority", "localhost")]
            self.plugin.host = Host(grpc.insecure_channel("unix:" + self.path("host"), options))

    def handlers(self):
        def unary(call):
            return lambda request, context: call(request)

        def stream(call, answer):
            def answers(requests, context):
                for batch in requests:
                    try:
                        out = call(batch)
                    except Exception as e:  # of any kind: it is the plugin's, and this batch's
                        out = answer(error=repr(e)[:1000])
                    out.seq = batch.seq
                    yield out
            return answers

        def start(request, context):
            self.connect_host()
            return self.plugin.start(request)

        p, calls = self.plugin, {}
        for m in _pool.FindServiceByName(f"{PACKAGE}.Plugin").methods:
            request, answer = message_factory.GetMessageClass(m.input_type), message_factory.GetMessageClass(m.output_type)
            call = getattr(p, m.name.lower())
            if m.name in ("Process", "Consume"):
                calls[m.name] = grpc.stream_stream_rpc_method_handler(stream(call, answer), request.FromString, answer.SerializeToString)
            else:
                behaviour = start if m.name == "Start" else unary(call)
                calls[m.name] = grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, answer.SerializeToString)
        return [
            grpc.method_handlers_generic_handler(f"{PACKAGE}.Plugin", calls),
            grpc.method_handlers_generic_handler("plugin.GRPCBroker", {"StartStream": grpc.stream_stream_rpc_method_handler(
                self.addresses, _ConnInfo.FromString, _ConnInfo.SerializeToString)}),
            grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": grpc.unary_unary_rpc_method_handler(self.shutdown)}),
            # HealthCheckResponse with status SERVING.
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(
                lambda request, context: b"\x08\x01")}),
        ]

    def addresses(self, infos, context):
        """The stream of go-plugin's broker; there is nothing to say from this side."""
        for info in infos:
            if info.service_id == HOST_SERVICES:
                self.host_address.put(info.address)
        yield from ()

    def shutdown(self, request, context):
        self.ended.set()
        return b""


async def _copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other end is gone, and the other direction will see it, too
    finally:
        writer.close()


def _keys(folder):
    """A certificate for this run, and TLS for both directions that trusts the broker's alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    uses = [x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256()))
    file = os.path.join(folder, "key")  # Python's ssl takes keys from files only
    with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as f:
        f.write(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        f.write(certificate.public_bytes(serialization.Encoding.PEM))
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        c = ssl.SSLContext(protocol)
        c.load_cert_chain(file)
        c.verify_mode = ssl.CERT_REQUIRED
        c.load_verify_locations(cadata=os.environ["PLUGIN_CLIENT_CERT"])
        c.set_alpn_protocols(["h2"])
        contexts.append(c)
    os.remove(file)
    return certificate.public_bytes(serialization.Encoding.DER), *contexts
