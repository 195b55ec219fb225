package records

import "testing"

// The numbers are those of librdkafka: its CRC32 is that of zlib.
func TestPartition(t *testing.T) {
	for key, want := range map[string]int{"123456789": 0xcbf43926 % 6, "": 0} {
		if got := Partition(key, 6); got != want {
			t.Errorf("Partition(%q, 6) = %d, want %d", key, got, want)
		}
	}
}
