package args

import "time"

// Instant parses a time that was given to a flag: a time of day (of the last day
// on which it has passed), or a full one. "" is the zero time.
func Instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation("2006-01-02 15:04:05", text, now.Location()); err == nil {
		return t, nil
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		clock, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		end := clock.Second()
		if layout == "15:04" {
			end = 59 // all of that minute
		}
		t := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), end, 999_999_999, now.Location())
		if t.Truncate(time.Second).After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	return time.Time{}, Usagef("%q is no time: write 15:04, 15:04:05 or 2006-01-02T15:04:05Z", text)
}
