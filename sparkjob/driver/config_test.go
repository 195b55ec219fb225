package driver

import "testing"

func TestRemote(t *testing.T) {
	const id = "session_id=8e5b0c6e-7a37-5b7c-8f0d-4b1f3f6f2f0a"
	pinned := remote("sc://h:1", "bookstore")
	if again := remote("sc://h:1", "bookstore"); again != pinned {
		t.Errorf("the same job gives %q and %q", pinned, again)
	}
	if other := remote("sc://h:1", "another"); other == pinned {
		t.Errorf("two jobs share %q", other)
	}
	session := pinned[len("sc://h:1/;user_id=bookstore;"):]
	for given, want := range map[string]string{
		"sc://h:1/":                        "sc://h:1/;user_id=bookstore;" + session,
		"sc://h:1/;":                       "sc://h:1/;user_id=bookstore;" + session,
		"sc://h:1/;use_ssl=true":           "sc://h:1/;use_ssl=true;user_id=bookstore;" + session,
		"sc://h:1/;user_id=me":             "sc://h:1/;user_id=me;" + session,
		"sc://h:1/;user_id=me;" + id:       "sc://h:1/;user_id=me;" + id,
		"sc://h:1/;" + id + ";user_id=me;": "sc://h:1/;" + id + ";user_id=me",
	} {
		if got := remote(given, "bookstore"); got != want {
			t.Errorf("remote(%q) = %q, want %q", given, got, want)
		}
	}
}
