// Package consume hands the messages of a broker's queue to a plugin until they are
// acknowledged: at least once, in order.
//
//	hook.Queue → read ahead → batch → instance.Plugin.Consume → result
//	                 ↑                                            │
//	                 └── comes again ── later ── dead letter ── acknowledged
//
// A Runner drives one consumer of one plugin, on one goroutine. It owns the order, the
// count of attempts, the pauses between them and the dead letters; the queue itself is
// the broker's (hook.Queue), the plugin's present instance is lent by pluginhost for each
// batch (Pin), so that a reload switches between batches. It knows nothing of runtimes,
// grants, breakers or configuration.
//
// Order. What has failed is handed over again before anything newer. Only a message that
// the plugin has marked OUTCOME_RETRY and has acknowledged a later one of the same batch is
// overtaken, by everything, until it is due. OUTCOME_RETRY of all that is left of a
// batch keeps the order.
//
// A poisonous message among good ones. A batch that fails as a whole comes again as
// it was; from then on each further failure halves it. A message that has one attempt left
// is handed over alone. So nothing becomes a dead letter for its neighbour's sake and
// nothing is handed over more often than max_attempts; the price of max_attempts = 1 is
// that there are no batches.
//
// A batch that is not answered within its deadline is abandoned: its memory and its
// references to messages stay with the runtime until that says that it is done, its messages
// come again. maxAbandoned bounds how many of them there are.
//
// What is in memory is bounded: two batches read ahead, those that wait for
// another attempt or for the publication of their dead letter (held), those abandoned.
//
// Attempts are counted in memory: a restart, and Close with New, begin anew.
//
// Entry points: New, Runner.Use, Runner.Close. Start reading at runner.go, then
// window.go (what is next), call.go (one batch under way), result.go (what becomes of
// it), deadletter.go.
package consume
