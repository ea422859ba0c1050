// Package template is the small language in which bridges say what becomes of a message:
// the key of a record, a URL, the parameters of a statement, the topic on the other side.
//
//	plant/${topic[2]}/${client_id|default:"nobody"}
//
// A placeholder is "${", a variable, functions after "|", and "}". "$${" stands for "${".
//
//	topic            the Topic Name
//	topic[2]         its second level; topic[-1] the last; topic[2:] from the second on
//	payload          the payload as it is
//	payload.a.b[0]   a value in a payload of JSON; payload["a.b"] for names with other characters
//	client_id, username, namespace    of the publisher
//	qos, retain, id, timestamp        of the message; timestamp is when the broker got it
//	user_property.NAME                the first of that name; user_property["a b"]
//	content_type, response_topic, correlation_data, payload_format, message_expiry_interval
//	plugin, route, node               names of the bridge, its route, and the broker
//
// functions.go has the functions. What is not there is nothing: an empty text, null in JSON
// and SQL; default: and required are for that.
//
// A template is compiled once (Text, URL, JSON, which are types for a config), knows which
// fields of a message it needs (Fields), and is then used by any number of goroutines,
// each with a Source of its own. Append writes text, into a URL or JSON with what
// came from outside escaped; Value keeps the type where a template is a single
// placeholder. Variables without functions are appended without allocation, but for
// those within the payload, which is parsed once for each message.
//
// It knows nothing of bridges and of what is done with the results.
//
// Start at template.go; parse.go reads the language, variable.go and functions.go say what
// it can do, source.go is what it reads from.
package template
