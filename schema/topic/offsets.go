package topic

import (
	"context"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// EndOffsets returns the offset that the next record will get, for each partition of
// a topic. What a reader has not read yet is the difference to its own offsets.
// errors.Is tells ErrNotFound and ErrUnreachable.
func (a *Admin) EndOffsets(ctx context.Context, name string) (map[int]int64, error) {
	return a.offsets(ctx, name, "asking for the end of", kafka.LatestOffsetSpec)
}

// StartOffsets returns the offset of the first record that is still kept, for each
// partition of a topic. Its errors are those of EndOffsets.
func (a *Admin) StartOffsets(ctx context.Context, name string) (map[int]int64, error) {
	return a.offsets(ctx, name, "asking for the beginning of", kafka.EarliestOffsetSpec)
}

// OffsetsAt returns the offset of the first record that was received at a time or
// later, for each partition of a topic that has one. Its errors are those of EndOffsets.
func (a *Admin) OffsetsAt(ctx context.Context, name string, at time.Time) (map[int]int64, error) {
	offsets, err := a.offsets(ctx, name, "looking for a time in", kafka.NewOffsetSpecForTimestamp(at.UnixMilli()))
	for partition, offset := range offsets {
		if offset < 0 {
			delete(offsets, partition)
		}
	}
	return offsets, err
}

func (a *Admin) offsets(ctx context.Context, name, doing string, spec kafka.OffsetSpec) (map[int]int64, error) {
	count, err := a.Partitions(ctx, name)
	if err != nil {
		return nil, err
	}
	wanted := make(map[kafka.TopicPartition]kafka.OffsetSpec, count)
	for p := range count {
		wanted[kafka.TopicPartition{Topic: &name, Partition: int32(p)}] = spec
	}
	offsets := make(map[int]int64, count)
	err = a.request(ctx, doing, name, func(ctx context.Context, client *kafka.AdminClient) error {
		result, err := client.ListOffsets(ctx, wanted)
		if err != nil {
			return err
		}
		for partition, info := range result.ResultInfos {
			if info.Error.Code() != kafka.ErrNoError {
				return info.Error
			}
			offsets[int(partition.Partition)] = int64(info.Offset)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}
