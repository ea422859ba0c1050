package instance

// What host and plugin of the process runtime agree on before the contract begins: the
// handshake of hashicorp/go-plugin. A program that speaks it in another language needs
// these values as well.
const (
	// CookieKey and CookieValue are an environment variable that the host sets, so that
	// a plugin that a person starts says what it is instead of waiting.
	CookieKey   = "PATCHBAY_PLUGIN"
	CookieValue = "patchbay.plugin.v1"
	// ProtocolVersion is the version of the contract.
	ProtocolVersion = 1
	// SetName is the name of the one plugin in go-plugin's plugin set.
	SetName = "plugin"
	// HostServicesID is the GRPCBroker id under which the host serves service Host
	// before it calls Start.
	HostServicesID = 1
	// LifelineKey is an environment variable that the host sets to LifelineStdin if standard
	// input is a pipe that ends when the host does: the plugin ends with it then.
	LifelineKey   = "PATCHBAY_PLUGIN_LIFELINE"
	LifelineStdin = "stdin"
)
