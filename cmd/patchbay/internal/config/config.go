package config

// Config is the whole configuration. [Load] returns it complete: every value
// parsed, checked and defaulted. It must not be changed afterwards.
//
// The comments of its fields, here and in the types below it, are what
// operators read in `config example`: they speak of keys, not of Go.
type Config struct {
	// Where clients connect. Each entry names exactly one of tcp, tls, ws, wss
	// or unix. Without this key there is one listener, tcp ":1883".
	// While no authentication is configured, a listener whose allow_anonymous
	// is auto is opened on loopback only.
	// In the environment: PATCHBAY_LISTENERS="tcp://:1883,ws://:8083/mqtt",
	// with further keys as a query: "tls://:8883?cert=server.pem&key=server.key".
	Listeners []Listener `key:"listeners" default:"tcp://:1883"`

	// HTTP for operators: Prometheus /metrics, /healthz, /readyz, and the unix
	// socket by which the command line speaks to a running broker.
	Admin Admin `key:"admin"`

	// Folder for what the broker keeps on disk; made if it is not there. A
	// relative path here and elsewhere starts in the working directory.
	DataDir string `key:"data_dir" default:"./patchbay-data" unit:"path" check:"required"`

	// What the program says, on standard error.
	Log Log `key:"log"`

	// The protocol: what clients may use and what the server tells them.
	MQTT MQTT `key:"mqtt"`

	// What is kept for a client while it is connected and after.
	Session Session `key:"session"`

	// Retained messages: the last one of each topic that was published with
	// RETAIN, given to new subscribers.
	Retained Retained `key:"retained"`

	// Bounds that protect the broker and its clients from each other. Those of
	// one listener are with the listener.
	Limits Limits `key:"limits"`

	// The broker's own topics below $SYS/broker, under the names that
	// Mosquitto's users know.
	Sys Sys `key:"sys"`

	// After SIGTERM: how long clients and queues get before the program ends.
	ShutdownTimeout Duration `key:"shutdown_timeout" default:"10s" min:"0s" max:"1h" live:"true"`

	// Where sessions, their messages and retained messages are kept. disk: in
	// data_dir, where they outlive the process. memory: in this process, gone
	// when it ends.
	Store string `key:"store" default:"disk" enum:"disk|memory"`

	// When what is acknowledged is safe from a loss of power; a crash of the
	// program alone loses nothing in any mode.
	// always: before it is acknowledged. interval(100ms): at most so much later;
	// any time from 1ms to 1m. never: when the system writes it, half a minute
	// later or so.
	Sync string `key:"sync" default:"always" unit:"always, interval(TIME) or never" check:"sync"`

	// Free space on the disk of data_dir below which nothing new is accepted:
	// MQTT 5 publishers are told Quota Exceeded, others wait.
	StoreReserve Size `key:"store_reserve" default:"64MiB" min:"64KiB"`

	// Plugins, in the order in which they are asked. docs/plugins.md explains
	// them; an environment variable or flag cannot set them.
	Plugins []Plugin `key:"plugins" live:"true"`

	// Secrets that plugins with the grant for it may ask for, by name:
	// {token: "${file:/run/secrets/token}"}.
	Secrets Secrets `key:"secrets" live:"true"`

	// A folder that is watched: a plugin that is put into it starts, one that
	// is taken out ends. They are asked after those of plugins. Empty: plugins
	// in data_dir.
	PluginDir string `key:"plugin_dir" unit:"path, or off"`

	// Who may sign packages that `patchbay plugin install` takes: public keys, as
	// `patchbay plugin keygen` writes them.
	PluginKeys []string `key:"plugin_keys" default:"" unit:"ed25519:BASE64" check:"plugin_key" live:"true"`

	// Whether a client may publish and subscribe where plugins decide about it
	// and none has an opinion, nor permissions were given. It has no effect
	// without such a plugin.
	AuthorizeDefault string `key:"authorize_default" default:"allow" enum:"allow|deny"`

	// hidden names the keys whose value came, wholly or in part, out of a
	// ${file:…} or ${env:…}, so that print and Diff do not show it.
	hidden map[string]bool
}

// Admin configures the HTTP listener and the unix socket for operators.
type Admin struct {
	// Address of the HTTP listener, or off. An address that is not loopback
	// demands a token or a client_ca.
	Listen string `key:"listen" default:"127.0.0.1:18083" unit:"host:port, or off" check:"address_or_off"`

	// Requests must carry it as "Authorization: Bearer TOKEN". Empty: none
	// needed. Better "${file:/run/secrets/patchbay-token}" or
	// "${env:ADMIN_TOKEN}" than the token itself.
	Token string `key:"token" secret:"true"`

	// Certificate chain for HTTPS. Empty: plain HTTP.
	Cert string `key:"cert" unit:"path of a PEM file"`

	// Private key of cert.
	Key string `key:"key" unit:"path of a PEM file"`

	// When set, a request needs a client certificate of one of these CAs.
	ClientCA string `key:"client_ca" unit:"path of a PEM file"`

	// Serve Go's profiles below /debug/pprof/. They show memory contents and
	// cost CPU: for a while, and not to everyone.
	PProf bool `key:"pprof" default:"false"`

	// Unix socket (mode 0600) for `patchbay status`, `clients`, `reload` and
	// others. Empty: admin.sock in data_dir.
	Socket string `key:"socket" unit:"path, or off"`
}

// Log configures log/slog.
type Log struct {
	// The least severe lines to write. debug is for finding a fault, not for a
	// busy broker.
	Level string `key:"level" default:"info" enum:"debug|info|warn|error" live:"true"`

	// auto: text on a terminal, json otherwise.
	Format string `key:"format" default:"auto" enum:"auto|text|json"`
}

// Retained bounds the retained messages of the whole broker.
type Retained struct {
	// Keep retained messages at all. false: a publish with RETAIN is delivered
	// to those subscribed now and not kept.
	Enabled bool `key:"enabled" default:"true" live:"true"`

	// How many are kept. A new topic beyond it is refused with Quota Exceeded;
	// replacing goes on.
	MaxMessages int `key:"max_messages" default:"0" min:"0" unit:"messages, 0 = no limit" live:"true"`

	// Bytes of payload, topic and properties that all of them may take.
	MaxBytes Size `key:"max_bytes" default:"0" min:"0" unit:"0 = no limit" live:"true"`

	// Largest payload that is kept.
	MaxPayload Size `key:"max_payload" default:"0" min:"0" unit:"0 = no limit" live:"true"`

	// One older than this is removed. A message's own Message Expiry Interval
	// counts too: the shorter of both.
	MaxAge Duration `key:"max_age" default:"never" min:"1s" never:"true" live:"true"`
}

// Limits bounds connections, memory and rates.
type Limits struct {
	// Connections over all listeners. One more is closed at once.
	MaxConnections int `key:"max_connections" default:"0" min:"0" unit:"connections, 0 = no limit" live:"true"`

	// Above this much memory in use, publishers are not read from until it has
	// fallen. A size; or percent of the memory limit, which is GOMEMLIMIT, else
	// the container's limit, else the machine's memory; auto is 75%; or off.
	Memory Watermark `key:"memory" default:"auto" live:"true"`

	// Bytes waiting to be written to one client from which on QoS 0 messages
	// to it are dropped and others stay queued.
	OutBufferHigh Size `key:"out_buffer_high" default:"256KiB" min:"4KiB" max:"1GiB"`

	// Bytes waiting to which it must fall before delivery goes on as before.
	OutBufferLow Size `key:"out_buffer_low" default:"128KiB" min:"0" max:"1GiB"`

	// A client that takes nothing of what waits for it for so long is closed.
	WriteTimeout Duration `key:"write_timeout" default:"30s" min:"1s" max:"1h"`

	// How long a publisher whose message has a single receiver waits for that
	// one to catch up, before messages are dropped. With several receivers
	// nobody waits for the slowest.
	PublisherStall Duration `key:"publisher_stall" default:"100ms" min:"0s" max:"1m" unit:"0 = never" live:"true"`

	// PUBLISH packets that one client may send.
	PublishRate Rate `key:"publish_rate" default:"0/s" min:"0/s" unit:"per client, 0 = no limit" live:"true"`

	// How far above publish_rate a client may be for a moment.
	PublishBurst int `key:"publish_burst" default:"0" min:"0" unit:"messages, 0 = what the rate gives in one second" live:"true"`

	// Bytes of PUBLISH packets that one client may send.
	PublishBytesRate ByteRate `key:"publish_bytes_rate" default:"0B/s" min:"0B/s" unit:"per client, 0 = no limit" live:"true"`

	// How far above publish_bytes_rate a client may be for a moment. A packet
	// larger than this passes when the bucket is full.
	PublishBytesBurst Size `key:"publish_bytes_burst" default:"0" min:"0" unit:"0 = what the rate gives in one second" live:"true"`

	// What happens to a client above either rate. pause: it is not read from
	// until it is within. disconnect: DISCONNECT with Message Rate Too High.
	OnPublishRate string `key:"on_publish_rate" default:"pause" enum:"pause|disconnect" live:"true"`
}

// Sys configures the topics below $SYS/broker.
type Sys struct {
	// How often they are published.
	Interval Duration `key:"interval" default:"10s" min:"0s" max:"1d" unit:"0 = off" live:"true"`

	// Topics to leave out, as Topic Filters below $SYS/broker:
	// ["load/#", "clients/maximum"].
	Disable []string `key:"disable" default:"" unit:"Topic Filters" check:"topic_filter" live:"true"`
}
