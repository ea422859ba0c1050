// Package convert makes messages of the plugin contract of what the broker has, and
// the other way round: messages, clients, sessions, CONNECTs.
//
// It owns the mapping of fields, and which of them a mask (pluginv1.Field) asks for. It
// knows no plugin, no hook and no call; it keeps nothing.
//
// The functions fill structs of the caller and reuse the slices in them. What a mask
// leaves out costs nothing, and messages allocate nothing. The price: the strings and
// slices of a result are views of the source, valid as long as that is. So a view of a
// packet.Message that is not kept must not outlive the call that it came with.
//
// message.go has what is used for every message, client.go what is used for every
// connection.
package convert
