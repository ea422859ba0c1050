// Package chat keeps conversations: what was asked and answered, in durable storage, so
// that a conversation goes on after a restart. It owns where one is kept, so that nobody
// gets at another's, and when it is full. It does not know models: who shortens a
// conversation by a summary gives it one (Conversation.Fold).
//
// Entry points: NewStore, Store.Load, Store.Save, Store.Reset.
package chat

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// KV is durable storage with versions.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, version uint64, err error)
	CompareAndSet(ctx context.Context, key string, value []byte, ttl time.Duration, old uint64) (version uint64, stored bool, err error)
	Delete(ctx context.Context, key string) error
}

// ID is whose conversation it is. Client is "" where all clients of a namespace share
// conversations.
type ID struct{ Assistant, Namespace, Client, Name string }

// key is where a conversation is kept. Names may be longer than keys can be, and must not
// run into each other.
func (id ID) key() string {
	h := sha256.New()
	for _, s := range []string{id.Namespace, id.Client, id.Name} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return "chat/" + id.Assistant + "/" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// Turn is a question and its answer.
type Turn struct {
	Question string `json:"q"`
	Answer   string `json:"a"`
	// Tokens of both, an estimate.
	Tokens int `json:"t"`
}

// Conversation is what was said. It is for one goroutine.
type Conversation struct {
	// Whose it is, for operators who look into the storage.
	Namespace string `json:"namespace,omitempty"`
	Client    string `json:"client,omitempty"`
	Name      string `json:"name"`
	// Summary stands for the turns that were left out; "" if none were.
	Summary       string `json:"summary,omitempty"`
	SummaryTokens int    `json:"summary_tokens,omitempty"`
	Turns         []Turn `json:"turns"`

	version uint64
}

// Limits of a conversation. 0 is no limit.
type Limits struct{ Turns, Tokens int }

// Tokens is the size of what was said, an estimate.
func (c *Conversation) Tokens() int {
	n := c.SummaryTokens
	for i := range c.Turns {
		n += c.Turns[i].Tokens
	}
	return n
}

// Full returns how many of the oldest turns have to go; 0 if the conversation is within
// its limits. It is more than would be needed, so that not every turn is followed by a
// summary: half of the limits stay.
func (c *Conversation) Full(l Limits) int {
	if (l.Turns <= 0 || len(c.Turns) <= l.Turns) && (l.Tokens <= 0 || c.Tokens() <= l.Tokens) {
		return 0
	}
	n, tokens := 0, c.Tokens()-c.SummaryTokens
	for n < len(c.Turns) && (l.Turns > 0 && len(c.Turns)-n > (l.Turns+1)/2 || l.Tokens > 0 && tokens > l.Tokens/2) {
		tokens -= c.Turns[n].Tokens
		n++
	}
	return max(n, 1)
}

// Fold leaves out the oldest n turns; summary, which may be "", stands for them and for
// the summary before.
func (c *Conversation) Fold(n int, summary string, tokens int) {
	c.Turns = append([]Turn(nil), c.Turns[min(n, len(c.Turns)):]...)
	c.Summary, c.SummaryTokens = summary, tokens
	if summary == "" {
		c.SummaryTokens = 0
	}
}

// ErrChanged is returned by Save if the conversation was changed by somebody else.
var ErrChanged = errors.New("the conversation was changed meanwhile")

// Store is safe for concurrent use.
type Store struct {
	kv   KV
	keep time.Duration
}

// NewStore makes a store that forgets conversations which were not changed for keep; 0 is
// never.
func NewStore(kv KV, keep time.Duration) *Store { return &Store{kv, keep} }

// Load returns a conversation; an empty one if there is none, or if what is stored
// cannot be read.
func (s *Store) Load(ctx context.Context, id ID) (*Conversation, error) {
	value, version, err := s.kv.Get(ctx, id.key())
	if err != nil {
		return nil, fmt.Errorf("load conversation: %w", err)
	}
	c := &Conversation{}
	if json.Unmarshal(value, c) != nil || c.Namespace != id.Namespace || c.Client != id.Client || c.Name != id.Name {
		c = &Conversation{}
	}
	c.Namespace, c.Client, c.Name, c.version = id.Namespace, id.Client, id.Name, version
	return c, nil
}

// maxValue is the contract's limit of a value, in bytes.
const maxValue = 1 << 20

// Save stores a conversation, if nobody has changed it since it was loaded. One that is too
// large for the storage loses its oldest turns.
func (s *Store) Save(ctx context.Context, id ID, c *Conversation) error {
	b, err := json.Marshal(c)
	for ; err == nil && len(b) > maxValue && len(c.Turns) > 0; b, err = json.Marshal(c) {
		c.Fold((len(c.Turns)+1)/2, c.Summary, c.SummaryTokens)
	}
	if err != nil {
		return fmt.Errorf("encode conversation: %w", err)
	}
	version, stored, err := s.kv.CompareAndSet(ctx, id.key(), b, s.keep, c.version)
	if err != nil {
		return fmt.Errorf("store conversation: %w", err)
	}
	if !stored {
		return ErrChanged
	}
	c.version = version
	return nil
}

// Reset forgets a conversation.
func (s *Store) Reset(ctx context.Context, id ID) error {
	if err := s.kv.Delete(ctx, id.key()); err != nil {
		return fmt.Errorf("reset conversation: %w", err)
	}
	return nil
}
