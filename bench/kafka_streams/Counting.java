import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Counts the records of one source partition into the stores of its task.
 *
 * <p>Stores, each with a changelog, all of them in the transaction of the task:
 *
 * <ul>
 *   <li>ids: event id -> generation of the partition in which it was met last. The rule is that of fanpulse
 *       (docs/adr/0005): an event is a duplicate if its id was met in the same generation or one of the K before.
 *       A generation ends here by its number of events alone: the logs are far shorter than its bound in time.
 *   <li>progress: how many events the partition has met, which is what generations are made of.
 *   <li>accounts, hashtags: subject and action -> gross count.
 *   <li>seconds, minutes, tens: the same subjects per bucket of event time, held as long as the windows of 5
 *       minutes, 1 hour and 24 hours need them.
 * </ul>
 */
final class Counting extends ContextualProcessor<byte[], byte[], Void, Void> {
    /** Name of a window store -> width of its buckets, and how long they are held, in milliseconds. */
    enum Level {
        SECONDS(1_000, 6 * 60_000),
        MINUTES(60_000, 70 * 60_000),
        TENS(600_000, 24 * 3_600_000L + 20 * 60_000);

        final long widthMs;
        final long heldMs;

        Level(long widthMs, long heldMs) {
            this.widthMs = widthMs;
            this.heldMs = heldMs;
        }
    }

    /** What the processors of all tasks share: the settings, and how far the run is. */
    record Run(long generationEvents, int generations, boolean inMemory, boolean combined, Progress progress) {}

    private static final String TAB = "\t";

    private final Run run;
    private final List<WindowStore<String, Long>> buckets = new ArrayList<>();
    private KeyValueStore<String, Integer> ids;
    private KeyValueStore<String, Long> met;
    private KeyValueStore<String, Long> accounts;
    private KeyValueStore<String, Long> hashtags;

    private Counting(Run run) {
        this.run = run;
    }

    /** Makes the processor of each task, and names the stores it uses. */
    static ProcessorSupplier<byte[], byte[], Void, Void> supplier(Run run) {
        return new ProcessorSupplier<>() {
            @Override
            public Counting get() {
                return new Counting(run);
            }

            @Override
            public Set<StoreBuilder<?>> stores() {
                return Counting.stores(run.inMemory());
            }
        };
    }

    private static Set<StoreBuilder<?>> stores(boolean inMemory) {
        Set<StoreBuilder<?>> stores = new HashSet<>();
        // An id is written once, so a cache in front of it would only be passed through.
        stores.add(Stores.keyValueStoreBuilder(keyValue("ids", inMemory), Serdes.String(), Serdes.Integer()));
        for (String name : List.of("progress", "accounts", "hashtags")) {
            stores.add(
                    Stores.keyValueStoreBuilder(keyValue(name, inMemory), Serdes.String(), Serdes.Long())
                            .withCachingEnabled());
        }
        for (Level level : Level.values()) {
            Duration held = Duration.ofMillis(level.heldMs);
            Duration width = Duration.ofMillis(level.widthMs);
            stores.add(
                    Stores.windowStoreBuilder(
                                    inMemory
                                            ? Stores.inMemoryWindowStore(level.name(), held, width, false)
                                            : Stores.persistentWindowStore(level.name(), held, width, false),
                                    Serdes.String(),
                                    Serdes.Long())
                            .withCachingEnabled());
        }
        return stores;
    }

    private static KeyValueBytesStoreSupplier keyValue(String name, boolean inMemory) {
        return inMemory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        super.init(context);
        ids = context.getStateStore("ids");
        met = context.getStateStore("progress");
        accounts = context.getStateStore("accounts");
        hashtags = context.getStateStore("hashtags");
        for (Level level : Level.values()) {
            buckets.add(context.getStateStore(level.name()));
        }
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        run.progress().begin();
        Long before = met.get("events");
        long sequence = before == null ? 0 : before;
        long first = sequence;
        Tally tally = new Tally();
        for (Events.Event event : Events.decode(record.value())) {
            if (event.kind.equals("clock")) {
                run.progress().present(event.present);
            } else if (isFirst(event.id, sequence++)) {
                tally.add(event);
                if (!run.combined()) {
                    store(tally);
                }
            }
        }
        store(tally);
        if (sequence > first) {
            met.put("events", sequence);
            run.progress().met(sequence - first);
        }
    }

    /** Whether an event is the first with its id within the horizon; remembers it. */
    private boolean isFirst(String id, long sequence) {
        int generation = (int) (sequence / run.generationEvents());
        if (sequence % run.generationEvents() == 0 && sequence > 0) {
            forget(generation - run.generations());
        }
        Integer last = ids.get(id);
        if (last == null || last != generation) {
            ids.put(id, generation);
        }
        return last == null || last < generation - run.generations();
    }

    /** Removes ids that were met last before a generation. */
    private void forget(int oldest) {
        List<String> old = new ArrayList<>();
        try (KeyValueIterator<String, Integer> all = ids.all()) {
            while (all.hasNext()) {
                KeyValue<String, Integer> entry = all.next();
                if (entry.value < oldest) {
                    old.add(entry.key);
                }
            }
        }
        old.forEach(ids::delete);
    }

    private void store(Tally tally) {
        tally.accounts.forEach((key, count) -> add(accounts, key, count));
        tally.hashtags.forEach((key, count) -> add(hashtags, key, count));
        tally.seconds.forEach(
                (second, counts) -> counts.forEach((key, count) -> addToBuckets(key, second * 1000, count)));
        tally.clear();
    }

    private void addToBuckets(String key, long atMs, long count) {
        for (Level level : Level.values()) {
            WindowStore<String, Long> store = buckets.get(level.ordinal());
            long start = atMs - atMs % level.widthMs;
            Long held = store.fetch(key, start);
            store.put(key, (held == null ? 0 : held) + count, start);
        }
    }

    private static void add(KeyValueStore<String, Long> store, String key, long count) {
        Long held = store.get(key);
        store.put(key, (held == null ? 0 : held) + count);
    }

    /** Counts that go to the stores together: those of a record if combined, else those of an event. */
    private static final class Tally {
        final Map<String, Long> accounts = new HashMap<>();
        final Map<String, Long> hashtags = new HashMap<>();
        final Map<Long, Map<String, Long>> seconds = new HashMap<>();

        void add(Events.Event event) {
            Map<String, Long> second =
                    seconds.computeIfAbsent(event.occurredAt / 1000, any -> new HashMap<>());
            String account = event.platform + TAB + event.account + TAB + event.action;
            accounts.merge(account, event.quantity, Long::sum);
            second.merge("account" + TAB + account, event.quantity, Long::sum);
            for (String tag : event.hashtags) {
                String hashtag = tag + TAB + event.action;
                hashtags.merge(hashtag, event.quantity, Long::sum);
                second.merge("hashtag" + TAB + hashtag, event.quantity, Long::sum);
            }
        }

        void clear() {
            accounts.clear();
            hashtags.clear();
            seconds.clear();
        }
    }
}
