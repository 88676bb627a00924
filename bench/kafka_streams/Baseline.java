import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyWindowStore;

/**
 * The baseline of the aggregator: Kafka Streams, exactly once, with the same duplicate rule, totals and windows.
 *
 * <p>{@code java Baseline FILE}: the file has the properties of Kafka Streams, and these:
 *
 * <ul>
 *   <li>{@code baseline.topic}, {@code baseline.events}, {@code baseline.stream.time.ms}: what to count; the run ends
 *       once that many events have been read and stream time has reached that of the last clock record.
 *   <li>{@code baseline.dedup.segment.events}, {@code baseline.dedup.segments}: the duplicate rule.
 *   <li>{@code baseline.in.memory}: keep the stores in memory, else in RocksDB.
 *   <li>{@code baseline.aggregations}: count with the aggregations of the Kafka Streams DSL, which repartition the
 *       events by subject; else with a processor that needs no repartition topic.
 *   <li>{@code baseline.combined}: that processor sums up a record before it updates the stores, else it updates
 *       them with each event.
 *   <li>{@code baseline.output}: the output file, lines of tab-separated fields: the rolling counts ({@code rolling}),
 *       and the time between the first and the last event ({@code seconds}, {@code cpu_seconds}).
 * </ul>
 *
 * <p>When it ends, the totals are in the changelogs of the stores, committed.
 *
 * <p>Events with the same id are in the same partition, so the processor counts each partition by itself and
 * repartitions nothing; totals are sums over partitions. The aggregator does the same.
 */
public final class Baseline {
    /** Name of a window -> the level whose buckets it is made of, and its length. */
    private record Window(String name, Level level, long lengthMs) {}

    private static final Window[] WINDOWS = {
        new Window("1m", Level.SECONDS, 60_000),
        new Window("5m", Level.SECONDS, 300_000),
        new Window("1h", Level.MINUTES, 3_600_000),
        new Window("24h", Level.TENS, 86_400_000),
    };

    private Baseline() {}

    public static void main(String[] arguments) throws IOException, InterruptedException {
        Properties settings = new Properties();
        try (InputStream file = new FileInputStream(arguments[0])) {
            settings.load(file);
        }
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        Progress progress =
                new Progress(
                        Long.parseLong(settings.getProperty("baseline.events")),
                        Long.parseLong(settings.getProperty("baseline.stream.time.ms")));
        Run run =
                new Run(
                        new Identities.Rule(
                                Long.parseLong(settings.getProperty("baseline.dedup.segment.events")),
                                Integer.parseInt(settings.getProperty("baseline.dedup.segments"))),
                        Boolean.parseBoolean(settings.getProperty("baseline.in.memory")),
                        Boolean.parseBoolean(settings.getProperty("baseline.combined")),
                        progress);
        StreamsBuilder builder = new StreamsBuilder();
        String topic = settings.getProperty("baseline.topic");
        if (Boolean.parseBoolean(settings.getProperty("baseline.aggregations"))) {
            Aggregations.add(builder, topic, run);
        } else {
            builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                    .process(Counting.supplier(run));
        }
        List<String> lines = new ArrayList<>();
        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings)) {
            streams.setUncaughtExceptionHandler(
                    error -> {
                        error.printStackTrace();
                        progress.fail();
                        return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                    });
            streams.start();
            progress.await();
            if (!progress.complete()) {
                System.exit(1);
            }
            for (Window window : WINDOWS) {
                lines.addAll(rolling(streams, window, progress.streamTimeMs()));
            }
        } // closing commits the last interval
        lines.add("seconds\t" + progress.seconds());
        lines.add("cpu_seconds\t" + progress.cpuSeconds());
        Files.write(Path.of(settings.getProperty("baseline.output")), lines);
    }

    /** Counts within [end - length, end), where end is the end of the bucket that holds stream time. */
    private static List<String> rolling(KafkaStreams streams, Window window, long streamTimeMs) {
        ReadOnlyWindowStore<String, Long> store =
                streams.store(
                        StoreQueryParameters.fromNameAndType(
                                window.level().name(), QueryableStoreTypes.<String, Long>windowStore()));
        long widthMs = window.level().widthMs;
        long endMs = (streamTimeMs / widthMs + 1) * widthMs;
        Map<String, Long> counts = new TreeMap<>();
        try (KeyValueIterator<Windowed<String>, Long> buckets =
                store.fetchAll(
                        Instant.ofEpochMilli(endMs - window.lengthMs()),
                        Instant.ofEpochMilli(endMs - 1))) {
            while (buckets.hasNext()) {
                KeyValue<Windowed<String>, Long> bucket = buckets.next();
                counts.merge(bucket.key.key(), bucket.value, Long::sum);
            }
        }
        List<String> lines = new ArrayList<>();
        counts.forEach((key, count) -> lines.add("rolling\t" + window.name() + "\t" + key + "\t" + count));
        return lines;
    }
}
