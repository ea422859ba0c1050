package assistant

import "github.com/patchbay-mq/patchbay/sdk"

// Config of the plugin.
type Config struct {
	Prefix string `json:"prefix" doc:"What the topics begin with: questions are asked on PREFIX/ASSISTANT/CONVERSATION/ask." default:"assistant" min:"1" max:"200"`
	Name   string `json:"name" doc:"Name of the assistant that the keys model, system and so on describe." default:"main" min:"1" max:"64"`

	BaseURL      string            `json:"base_url" doc:"Where the OpenAI-compatible endpoint is, up to what is in front of /chat/completions." default:"https://api.openai.com/v1"`
	APIKey       sdk.Secret        `json:"api_key" doc:"Key of the endpoint, sent as a bearer token. Absent: none is sent."`
	Organization string            `json:"organization" doc:"Organization at the endpoint (OpenAI-Organization)." max:"200"`
	Headers      map[string]string `json:"headers" doc:"HTTP headers to send with each request."`
	TLS          TLS               `json:"tls" doc:"TLS of the endpoint."`

	Model           string   `json:"model" doc:"The model, by the endpoint's name for it. Absent: only those of assistants are there." example:"gpt-4o-mini" max:"200"`
	System          string   `json:"system" doc:"What the model is to be and to do (system message)." default:"You are a helpful assistant on an MQTT broker. Answer briefly."`
	Temperature     *float64 `json:"temperature" doc:"Temperature, if a question does not say. Absent: the model's own." min:"0" max:"2"`
	ReasoningEffort string   `json:"reasoning_effort" doc:"How long a reasoning model thinks, as low. Absent: the model's own." max:"20"`
	MaxAnswerTokens int      `json:"max_answer_tokens" doc:"The most tokens of an answer." default:"1024" min:"1" max:"1000000"`
	MaxInputTokens  int      `json:"max_input_tokens" doc:"The most tokens that the model is given to read, by estimate: four bytes each." default:"16000" min:"100" max:"10000000"`
	Images          bool     `json:"images" doc:"The model can look at images: questions may have some."`

	Assistants []Assistant `json:"assistants" doc:"Further assistants, each with a name of its own. What they do not say is as above." max:"100"`

	Allow         Allow              `json:"allow" doc:"What clients may set in a question."`
	Conversations Conversations      `json:"conversations" doc:"What is remembered of conversations."`
	Answers       Answers            `json:"answers" doc:"Where answers go and how."`
	Limits        Limits             `json:"limits" doc:"How much of it who may have."`
	Prices        []Price            `json:"prices" doc:"What models cost. Needed for cost ceilings." max:"1000"`
	Moderation    Moderation         `json:"moderation" doc:"A hook that looks at questions, and answers."`
	Endpoint      Endpoint           `json:"endpoint" doc:"How endpoints are dealt with."`
	Automations   []AutomationConfig `json:"automations" doc:"Rules by which messages become requests, and their answers messages." max:"50"`

	Log        Log         `json:"log" doc:"What is logged of questions and answers."`
	Tools      ToolsConfig `json:"tools" doc:"What models may call. Absent: nothing."`
	AuditTopic string      `json:"audit_topic" doc:"Topic to which each call of a tool is published, beside the log. Absent: the log alone." example:"audit/assistant"`
}

// Assistant is a further one.
type Assistant struct {
	Name            string         `json:"name" required:"true" doc:"Its name, one level of a topic." min:"1" max:"64"`
	BaseURL         string         `json:"base_url" doc:"As above. With another base_url, the api_key above is not sent there."`
	APIKey          sdk.Secret     `json:"api_key" doc:"As above."`
	Model           string         `json:"model" doc:"As above." max:"200"`
	System          string         `json:"system" doc:"As above."`
	Temperature     *float64       `json:"temperature" doc:"As above." min:"0" max:"2"`
	ReasoningEffort string         `json:"reasoning_effort" doc:"As above." max:"20"`
	MaxAnswerTokens int            `json:"max_answer_tokens" doc:"As above." min:"0" max:"1000000"`
	MaxInputTokens  int            `json:"max_input_tokens" doc:"As above." min:"0" max:"10000000"`
	Images          *bool          `json:"images" doc:"As above."`
	Limits          *AccountLimits `json:"limits" doc:"In place of limits.assistant."`
	Tools           []string       `json:"tools" doc:"Which of the tools it has; with * at the end, all that begin so; none for none. Absent: all." max:"100"`
}

// TLS of the endpoint.
type TLS struct {
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the endpoint's certificate must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of a certificate of our own, with cert_key_file."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read and change everything."`
}

// Allow is what clients may set.
type Allow struct {
	System         bool    `json:"system" doc:"Wishes for how to answer (system). They are passed on as the client's words, never as the operator's."`
	TemperatureMin float64 `json:"temperature_min" doc:"The lowest temperature." default:"0" min:"0" max:"2"`
	TemperatureMax float64 `json:"temperature_max" doc:"The highest temperature." default:"1" min:"0" max:"2"`
	ResponseFormat bool    `json:"response_format" doc:"The form of the answer: JSON, or JSON that fits a schema." default:"true"`
	Stream         bool    `json:"stream" doc:"Answers piece by piece." default:"true"`
}

// Conversations is what is remembered.
type Conversations struct {
	Scope     string       `json:"scope" doc:"client: each client has conversations of its own, whatever their names. conversation: who asks in a conversation of the same name shares it, in a namespace." enum:"client,conversation" default:"client"`
	Keep      sdk.Duration `json:"keep" doc:"How long a conversation is kept after its last question. 0s: nothing is kept, every question is the first." default:"7d" min:"0s" max:"3650d"`
	MaxTurns  int          `json:"max_turns" doc:"The most questions and answers that are remembered." default:"20" min:"1" max:"1000"`
	MaxTokens int          `json:"max_tokens" doc:"The most tokens that are remembered, by estimate." default:"6000" min:"100" max:"1000000"`
	WhenFull  string       `json:"when_full" doc:"summary: the model makes one of the older half. forget: the older half is left out." enum:"summary,forget" default:"summary"`
}

// Answers is where answers go and how.
type Answers struct {
	ResponseTopics []string     `json:"response_topics" doc:"Topic Filters of Response Topics to which the assistant answers as itself. ${client_id} and ${username} are the client's. To others it answers as the client, if it may (grant publish_as_client)." default:"patchbay/rr/+" max:"100"`
	Retain         bool         `json:"retain" doc:"Retain answers on the answer topic: whoever may subscribe there later reads the last one."`
	StreamInterval sdk.Duration `json:"stream_interval" doc:"Pieces of a streamed answer are put together for so long." default:"100ms" min:"0s" max:"10s"`
	Timeout        sdk.Duration `json:"timeout" doc:"How long a question may take, waiting for its turn included." default:"2m" min:"100ms" max:"1h"`
	MaxAge         sdk.Duration `json:"max_age" doc:"Questions that come later than that after they were asked, because the broker or the plugin was away, are answered by the error expired." default:"1m" min:"1s" max:"1d"`
	MaxAsk         sdk.Size     `json:"max_ask" doc:"The largest payload of a question." default:"64KiB" min:"1KiB" max:"16MiB"`
}

// Limits are limits of the three kinds of accounts.
type Limits struct {
	Client    AccountLimits `json:"client" doc:"Of each client."`
	Namespace AccountLimits `json:"namespace" doc:"Of each namespace."`
	Assistant AccountLimits `json:"assistant" doc:"Of each assistant."`

	MaxRunning             int `json:"max_running" doc:"How many questions each assistant answers at once." default:"32" min:"1" max:"10000"`
	MaxRunningPerNamespace int `json:"max_running_per_namespace" doc:"How many of these may be of one namespace. 0: all." default:"0" min:"0" max:"10000"`
	MaxWaiting             int `json:"max_waiting" doc:"How many questions may wait for each assistant. Past that the namespace that has the most waiting loses its newest." default:"2000" min:"0" max:"100000"`
}

// AccountLimits are limits of an account.
type AccountLimits struct {
	RequestsPerMinute int     `json:"requests_per_minute" doc:"Questions a minute. 0: no limit." min:"0"`
	RequestsPerDay    int     `json:"requests_per_day" doc:"Questions a day (UTC). 0: no limit." min:"0"`
	TokensPerMinute   int     `json:"tokens_per_minute" doc:"Tokens a minute, read and written. 0: no limit." min:"0"`
	TokensPerDay      int     `json:"tokens_per_day" doc:"Tokens a day. 0: no limit." min:"0"`
	CostPerDay        float64 `json:"cost_per_day" doc:"Cost ceiling of a day, in the currency of prices. 0: none." min:"0"`
	CostPerMonth      float64 `json:"cost_per_month" doc:"Cost ceiling of a month. 0: none." min:"0"`
}

// Price is a line of the price table.
type Price struct {
	Model  string  `json:"model" required:"true" doc:"Name of the model; with * at the end, of all that begin so. The first line that fits counts."`
	Input  float64 `json:"input" doc:"Price of a million tokens that are read." min:"0"`
	Output float64 `json:"output" doc:"Price of a million tokens that are written." min:"0"`
}

// Moderation is a hook that looks at texts.
type Moderation struct {
	Check         string     `json:"check" doc:"What is looked at: off, questions, or both questions and answers. Of both, streamed answers come in one piece." enum:"off,questions,both" default:"off"`
	BaseURL       string     `json:"base_url" doc:"Endpoint with /moderations as OpenAI has it. Absent: that of the assistant."`
	APIKey        sdk.Secret `json:"api_key" doc:"Its key. Absent, without base_url: that of the assistant."`
	Model         string     `json:"model" doc:"Its model. Absent: the endpoint's own." enum:",omni-moderation-latest,omni-moderation-2024-09-26,text-moderation-stable,text-moderation-latest"`
	IfUnavailable string     `json:"if_unavailable" doc:"What becomes of texts while it cannot be asked." enum:"refuse,allow" default:"refuse"`
}

// Endpoint is how endpoints are dealt with.
type Endpoint struct {
	FirstToken      sdk.Duration `json:"first_token_timeout" doc:"How long an endpoint may take to begin its answer." default:"30s" min:"10ms" max:"30m"`
	Idle            sdk.Duration `json:"idle_timeout" doc:"How long it may be silent in the middle of it." default:"30s" min:"10ms" max:"30m"`
	Retries         int          `json:"retries" doc:"How often a request is made again after 429, 5xx, a lost connection, or an answer that cannot be read." default:"3" min:"0" max:"20"`
	RetryMin        sdk.Duration `json:"retry_min" doc:"Pause before the second attempt; it doubles each time. Retry-After counts if it is longer." default:"500ms" min:"1ms" max:"1m"`
	RetryMax        sdk.Duration `json:"retry_max" doc:"The longest pause." default:"20s" min:"1ms" max:"10m"`
	BreakerFailures int          `json:"breaker_failures" doc:"After so many failures in a row the endpoint is left alone for breaker_pause. 0: never." default:"5" min:"0" max:"1000"`
	BreakerPause    sdk.Duration `json:"breaker_pause" doc:"For how long." default:"30s" min:"10ms" max:"1h"`
	Whole           bool         `json:"whole_answers" doc:"Ask for answers in one piece, for endpoints that cannot stream."`
	NoUsage         bool         `json:"no_stream_options" doc:"Leave out stream_options, for endpoints that refuse it; tokens are estimated then."`
}

// Log is what is logged.
type Log struct {
	Prompts string   `json:"prompts" doc:"What of questions and answers goes into the log, at level debug: off, redacted, or whole." enum:"off,redacted,whole" default:"off"`
	Redact  []string `json:"redact" doc:"Regular expressions (RE2) of what redacted leaves out, beside e-mail addresses, long numbers, keys and bearer tokens." max:"100"`
}
