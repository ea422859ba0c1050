package tools

import (
	"slices"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Queue is the name of the queue that brings replies and decisions.
const Queue = "tools"

// Queues are the queues that the tools need.
func (s *Set) Queues() []sdk.Queue {
	var filters []string
	if s.c.uses(request) || slices.ContainsFunc(s.c.Custom, func(c Custom) bool { return c.WantsAnswer && c.Response == nil }) {
		filters = append(filters, s.o.Prefix+replyLevel+"+")
	}
	if len(s.c.Approve) > 0 {
		filters = append(filters, s.approvalTopic()+"/+"+decisionLevel)
	}
	for i := range s.c.Custom {
		if r := s.c.Custom[i].Response; r != nil {
			filters = append(filters, filterOf(r.String()))
		}
	}
	if len(filters) == 0 {
		return nil
	}
	slices.Sort(filters)
	return []sdk.Queue{{Name: Queue, TopicFilters: slices.Compact(filters), Fields: sdk.FieldPayload | sdk.FieldProperties}}
}

// Hooks are the observations that the tools need.
func (s *Set) Hooks() (hooks []sdk.Hook) {
	if s.c.uses(readRecent, listTopics) {
		hooks = append(hooks, sdk.Hook{Point: sdk.PointPublished, TopicFilters: s.c.Recent.TopicFilters, Fields: sdk.FieldPayload | sdk.FieldProperties})
	}
	if s.c.uses(explainDrop) {
		hooks = append(hooks, sdk.Hook{Point: sdk.PointDropped})
	}
	return hooks
}

// Observe is told what has happened.
func (s *Set) Observe(b *sdk.EventBatch) {
	for i := range b.Len() {
		e := b.At(i)
		switch {
		case e.Message.Topic == "" || s.own(e.Message.Topic): // conversations are nobody else's
		case b.Point == sdk.PointPublished:
			namespace := e.Client.Namespace
			if e.Message.Namespace != "" {
				namespace = e.Message.Namespace
			}
			s.recent.add(namespace, e.Message)
		case b.Point == sdk.PointDropped:
			s.drops.add(&e)
		}
	}
}

// Consume is given the messages of Queue. None has to come again.
func (s *Set) Consume(b *sdk.ConsumeBatch) {
	for i := range b.Len() {
		d := b.At(i)
		s.desk.hand(d.Message, d.Client)
	}
}
