package engine

import "context"

type noteKey struct{}

// WithNotes returns a context under which Note calls tell.
func WithNotes(ctx context.Context, tell func(text string)) context.Context {
	return context.WithValue(ctx, noteKey{}, tell)
}

// Note tells whoever looks on how far a step has come, in a few words: "12MiB of
// 40MiB". A caller tells no more than a reader can follow.
func Note(ctx context.Context, text string) {
	if tell, ok := ctx.Value(noteKey{}).(func(string)); ok {
		tell(text)
	}
}
