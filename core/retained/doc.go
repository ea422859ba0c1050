// Package retained keeps the retained messages of one namespace (MQTT 5 §3.3.1.3)
// and finds those that match a new subscription's Topic Filter.
//
// It decides nothing about delivery (Retain Handling, QoS, permissions): that is
// core/broker's, which also asks it to sweep out what has expired.
package retained
