package providers

import (
	"context"
	"iter"
	"sync"
)

// Together is what a Watcher with several sources returns: what each of them tells, as
// it comes, until the first error or until the context ends. A source that returns nil
// has nothing more to tell.
func Together(ctx context.Context, sources []func(ctx context.Context, tell func(Event)) error) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		type news struct {
			event Event
			err   error
		}
		told := make(chan news)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for _, source := range sources {
			wg.Go(func() {
				tell := func(n news) {
					select {
					case told <- n:
					case <-ctx.Done():
					}
				}
				if err := source(ctx, func(e Event) { tell(news{event: e}) }); err != nil {
					tell(news{err: err})
				}
			})
		}
		for {
			select {
			case n := <-told:
				if !yield(n.event, n.err) || n.err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// Unwatched is what a Watcher returns that cannot find out its sources.
func Unwatched(err error) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) { yield(Event{}, err) }
}
