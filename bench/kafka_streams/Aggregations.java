import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.StoreBuilder;

/**
 * Counts with the aggregations of the Kafka Streams DSL, as its documentation does: events are repartitioned by
 * subject over a topic of their own, and each aggregation is a line.
 *
 * <p>Only the duplicate rule is a processor, because the DSL has none.
 */
final class Aggregations {
    private static final String TAB = "\t";
    private static final String TOTALS = "totals";

    private Aggregations() {}

    static void add(StreamsBuilder builder, String topic, Run run) {
        KStream<String, Events.Event> events =
                builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                        .process(firsts(run));
        KGroupedStream<String, Long> counted =
                events.flatMap((none, event) -> subjects(event, run.progress()))
                        .repartition(Repartitioned.with(Serdes.String(), Serdes.Long()).withName("subjects"))
                        .peek((subject, quantity) -> run.progress().aggregated())
                        .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()));
        counted.reduce(
                Long::sum,
                Materialized.<String, Long>as(Identities.keyValue(TOTALS, run.inMemory()))
                        .withKeySerde(Serdes.String())
                        .withValueSerde(Serdes.Long()));
        for (Level level : Level.values()) {
            Duration width = Duration.ofMillis(level.widthMs);
            counted.windowedBy(TimeWindows.ofSizeAndGrace(width, Duration.ofMillis(level.retentionMs - level.widthMs)))
                    .reduce(
                            Long::sum,
                            Materialized.<String, Long>as(level.store(run.inMemory()))
                                    .withKeySerde(Serdes.String())
                                    .withValueSerde(Serdes.Long()));
        }
    }

    /** The subjects that an event counts for, with its quantity. */
    private static List<KeyValue<String, Long>> subjects(Events.Event event, Progress progress) {
        List<KeyValue<String, Long>> subjects = new ArrayList<>(3);
        String account = event.platform + TAB + event.account + TAB + event.action;
        subjects.add(KeyValue.pair("account" + TAB + account, event.quantity));
        for (String tag : event.hashtags) {
            subjects.add(KeyValue.pair("hashtag" + TAB + tag + TAB + event.action, event.quantity));
        }
        progress.emitted(subjects.size());
        return subjects;
    }

    /** Forwards the events of a record that are the first with their id, at their event time. */
    private static ProcessorSupplier<byte[], byte[], String, Events.Event> firsts(Run run) {
        return new ProcessorSupplier<>() {
            @Override
            public Firsts get() {
                return new Firsts(run);
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                return Identities.stores(run.inMemory());
            }
        };
    }

    private static final class Firsts extends ContextualProcessor<byte[], byte[], String, Events.Event> {
        private final Run run;
        private Identities identities;

        Firsts(Run run) {
            this.run = run;
        }

        @Override
        public void init(ProcessorContext<String, Events.Event> context) {
            super.init(context);
            identities = new Identities(run.rule(), context);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            run.progress().begin();
            identities.begin();
            long seen = 0;
            for (Events.Event event : Events.decode(record.value())) {
                if (event.kind.equals("clock")) {
                    run.progress().advance(event.streamTime);
                    continue;
                }
                seen++;
                if (identities.isFirst(event.id)) {
                    context().forward(new Record<>(null, event, event.occurredAt));
                }
            }
            identities.end(seen);
            run.progress().seen(seen);
        }
    }
}
