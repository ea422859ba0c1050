// Package permission reads what a client may do from JSON that somebody else has written: a
// token's claim, or the answer of a service. It understands Patchbay's own form and those of
// EMQX, and makes of them the permissions that the broker evaluates by itself.
//
// What is not understood is an error: leaving a part out could make a rule wider. It knows
// nothing of who has written the JSON, nor what becomes of a client whose permissions cannot
// be read.
//
// Entry point: Read.
package permission
