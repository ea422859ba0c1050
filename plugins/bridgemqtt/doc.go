// Package bridgemqtt is the plugin "bridge-mqtt": it joins this broker with another one by
// MQTT 5.0 or 3.1.1, in one direction or both.
//
//	queue of the route ──► Send ──► map topic ──► mqtt.Link ──► remote broker
//	Host.Publish ◄── receive ◄── map topic ◄── mqtt.Link ◄──┘
//
// It owns what becomes of topics, QoS, RETAIN and properties on the way, and that no
// message goes round: the User Property "patchbay-path" names the brokers that it has
// been at. What waits is the host's (package plugins/internal/bridge), the connection is
// that of package internal/mqtt.
//
// Start at plugin.go; config.go, work.go (a config at work), out.go, in.go, path.go,
// echo.go (3.1.1 servers that send back what they get), retained.go.
package bridgemqtt
