// Package bridgewebhook is the plugin "bridge-webhook": it sends messages to HTTP servers,
// one in a request or many.
//
//	queue of the route ──► Send ──► render ──► lanes, by key ──► request ──► HTTP server
//	                                             │                  │
//	                                             └── in order ──────┴── status: done, wait, retry, give up
//
// It owns what a request looks like, what a response means, the signature, and to which
// addresses connections may go. What waits, retries and dead letters are the host's and
// those of package plugins/internal/bridge.
//
// Start at plugin.go; config.go, render.go (a message becomes a part of a request),
// lane.go (order, batches, bisection), request.go (one request and its signature),
// status.go (what responses mean), client.go (connections), address.go (where they may
// lead), remote.go (who answers).
package bridgewebhook
