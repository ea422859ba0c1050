package config

// MQTT is what the server offers and accepts.
type MQTT struct {
	// Highest QoS a client may publish with; told to MQTT 5 clients as Maximum
	// QoS. Subscriptions are granted this much at most.
	MaxQoS int `key:"max_qos" default:"2" min:"0" max:"2" unit:"QoS" live:"true"`

	// Whether clients may publish with RETAIN (Retain Available). false: doing
	// so is answered with Retain Not Supported.
	RetainAvailable bool `key:"retain_available" default:"true" live:"true"`

	// Whether Topic Filters may have + and #.
	WildcardSubscriptions bool `key:"wildcard_subscriptions" default:"true" live:"true"`

	// Whether $share/GROUP/FILTER may be subscribed to.
	SharedSubscriptions bool `key:"shared_subscriptions" default:"true" live:"true"`

	// Whether subscriptions may have a Subscription Identifier.
	SubscriptionIdentifiers bool `key:"subscription_identifiers" default:"true" live:"true"`

	// Largest packet that is accepted, and told to MQTT 5 clients as Maximum
	// Packet Size. The protocol ends at 268435455 bytes.
	MaxPacketSize Size `key:"max_packet_size" default:"16MiB" min:"128" max:"268435455" live:"true"`

	// The same until the client has been authenticated: strangers get no more.
	// Above max_packet_size, that one holds.
	MaxPacketSizeBeforeAuth Size `key:"max_packet_size_before_auth" default:"64KiB" min:"128" max:"268435455" live:"true"`

	// Time from the connection to a complete CONNECT packet.
	ConnectTimeout Duration `key:"connect_timeout" default:"10s" min:"100ms" max:"10m" live:"true"`

	// Receive Maximum: QoS 1 and 2 messages that a client may have sent without
	// their having been acknowledged.
	ReceiveMaximum int `key:"receive_maximum" default:"1024" min:"1" max:"65535" unit:"messages" live:"true"`

	// Topic Aliases that a client may use when it publishes.
	TopicAliasMaximum int `key:"topic_alias_maximum" default:"64" min:"0" max:"65535" unit:"aliases, 0 = none" live:"true"`

	// Topic Aliases that the server uses towards a client, as far as that
	// client allows (most allow none). Saves bytes on the wire; costs memory,
	// and that client's messages are encoded for it alone.
	OutboundTopicAliasMaximum int `key:"outbound_topic_alias_maximum" default:"10" min:"0" max:"65535" unit:"aliases, 0 = none" live:"true"`

	// Longest Keep Alive. A client that asks for more, or for none, is told
	// this one as Server Keep Alive; one of MQTT 3 is held to it silently.
	KeepAliveMax Duration `key:"keep_alive_max" default:"0s" min:"0s" max:"65535s" unit:"whole seconds, 0 = whatever the client asks for" check:"whole_seconds" live:"true"`

	// Longest Topic Name or Topic Filter.
	MaxTopicLength int `key:"max_topic_length" default:"65535" min:"1" max:"65535" unit:"bytes" live:"true"`

	// Most levels (parts between slashes) of a Topic Name or Topic Filter.
	MaxTopicLevels int `key:"max_topic_levels" default:"128" min:"0" max:"65536" unit:"levels, 0 = no limit" live:"true"`

	// Longest Client Identifier. The protocol demands that 23 be accepted.
	MaxClientIDLength int `key:"max_client_id_length" default:"65535" min:"23" max:"65535" unit:"bytes" live:"true"`

	// Whether a client may leave the Client Identifier empty and get one.
	AllowEmptyClientID bool `key:"allow_empty_client_id" default:"true" live:"true"`

	// Given to MQTT 5 clients that ask for Response Information: the start of
	// the topics to use for responses. Empty: none is given.
	ResponseInformation string `key:"response_information" check:"utf8" live:"true"`

	// Server Reference for MQTT 5 clients that are sent away (at shutdown, or
	// when the server is full): where to go, as "host:port". Empty: none.
	ServerReference string `key:"server_reference" check:"utf8" live:"true"`

	// Whether a payload that its publisher declares to be UTF-8 (Payload Format
	// Indicator 1) is checked; a wrong one is answered with Payload Format
	// Invalid.
	CheckPayloadFormat bool `key:"check_payload_format" default:"true" live:"true"`
}

// Session bounds what is kept for one client.
type Session struct {
	// Longest Session Expiry Interval: how long the subscriptions and messages
	// of a client that is gone are kept. One that asks for more is told this.
	MaxExpiry Duration `key:"max_expiry" default:"never" min:"0s" never:"true" unit:"whole seconds" check:"expiry" live:"true"`

	// The Session Expiry Interval of MQTT 3.1 and 3.1.1 clients that connect
	// with clean session 0, who cannot ask for one. max_expiry holds for them
	// too.
	Expiry311 Duration `key:"expiry_3_1_1" default:"never" min:"0s" never:"true" unit:"whole seconds" check:"expiry" live:"true"`

	// QoS 1 and 2 messages under way to a client without its having
	// acknowledged them. Its own Receive Maximum counts too: the lesser of both.
	MaxInflight int `key:"max_inflight" default:"1024" min:"1" max:"65535" unit:"messages" live:"true"`

	// Messages waiting for a client that is gone or slow.
	MaxQueuedMessages int `key:"max_queued_messages" default:"10000" min:"0" unit:"messages, 0 = no limit" live:"true"`

	// Bytes of messages waiting for a client that is gone or slow.
	MaxQueuedBytes Size `key:"max_queued_bytes" default:"64MiB" min:"0" unit:"0 = no limit" live:"true"`

	// What happens at either bound. drop_new: the message that arrives is
	// dropped. drop_oldest: the one that has waited longest. disconnect: the
	// client is disconnected with Quota Exceeded; if it is gone, as drop_new.
	// Every drop is counted and logged with its reason.
	QueuePolicy string `key:"queue_policy" default:"drop_new" enum:"drop_new|drop_oldest|disconnect" live:"true"`

	// Whether QoS 0 messages wait for a client that is gone, too.
	QueueQoS0 bool `key:"queue_qos0" default:"false" live:"true"`

	// Send a message again over a connection that is up when it has not been
	// acknowledged for so long. MQTT 3.1 and 3.1.1 only: MQTT 5 forbids it.
	// What is unacknowledged is always sent again when the client reconnects.
	RetryInterval Duration `key:"retry_interval" default:"0s" min:"0s" max:"1d" unit:"0 = off" check:"retry_interval" live:"true"`

	// How often it is sent again on one connection. After that it waits for
	// the client to reconnect.
	RetryMax int `key:"retry_max" default:"5" min:"1" max:"100" unit:"times" live:"true"`

	// Each wait is so many times the one before.
	RetryBackoff float64 `key:"retry_backoff" default:"2" min:"1" max:"10" unit:"factor" live:"true"`

	// Subscriptions that one client may have.
	MaxSubscriptions int `key:"max_subscriptions" default:"0" min:"0" unit:"subscriptions, 0 = no limit" live:"true"`

	// Sessions of the broker, of clients that are connected or gone. At the
	// bound a client without a session is refused with Quota Exceeded.
	MaxSessions int `key:"max_sessions" default:"0" min:"0" unit:"sessions, 0 = no limit" live:"true"`

	// Which member of a shared subscription gets a message. round_robin: in
	// turn. random. least_inflight: who has the fewest waiting. sticky: a
	// publisher stays with its member while that is online. hash_client: by
	// publisher. hash_topic: by topic.
	SharedStrategy string `key:"shared_strategy" default:"round_robin" enum:"round_robin|random|least_inflight|sticky|hash_client|hash_topic"`

	// Longest Will Delay Interval. A longer one is shortened to it.
	MaxWillDelay Duration `key:"max_will_delay" default:"never" min:"0s" never:"true" unit:"whole seconds" check:"expiry" live:"true"`
}
