// Package topic knows MQTT's Topic Names and Topic Filters: which are valid, how
// `$share/{ShareName}/{filter}` is taken apart, and what matches what (MQTT 5
// §4.7 and §4.8.2, the same rules as MQTT 3.1.1 §4.7).
//
// It works on one name and one filter at a time. Package router has the index
// that finds all filters for a name, and is tested against [Match]; what a
// client may subscribe to is decided elsewhere.
//
// Entry points: [ValidName] and [ValidFilter] for input that did not come
// through the codec (configuration, plugins, in-process calls), [ParseFilter]
// for what a SUBSCRIBE asks for, [Match].
//
// All functions are pure and safe for concurrent use. None but ParseFilter
// keeps any part of its arguments.
package topic
