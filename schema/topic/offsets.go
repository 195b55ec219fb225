package topic

import (
	"context"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// EndOffsets returns the offset that the next record will get, for each partition of
// a topic. What a reader has not read yet is the difference to its own offsets.
// errors.Is tells ErrNotFound and ErrUnreachable.
func (a *Admin) EndOffsets(ctx context.Context, name string) (map[int]int64, error) {
	count, err := a.Partitions(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	latest := make(map[kafka.TopicPartition]kafka.OffsetSpec, count)
	for p := range count {
		latest[kafka.TopicPartition{Topic: &name, Partition: int32(p)}] = kafka.LatestOffsetSpec
	}
	result, err := a.client.ListOffsets(ctx, latest)
	if err != nil {
		return nil, a.explain("asking for the end of", name, err)
	}
	ends := make(map[int]int64, count)
	for partition, info := range result.ResultInfos {
		if info.Error.Code() != kafka.ErrNoError {
			return nil, a.explain("asking for the end of", name, info.Error)
		}
		ends[int(partition.Partition)] = int64(info.Offset)
	}
	return ends, nil
}
