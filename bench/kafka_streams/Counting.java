import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
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
 *   <li>ids, progress: see {@link Identities}.
 *   <li>accounts, hashtags: subject and action -> gross count.
 *   <li>seconds, minutes, tens: the same subjects per bucket of event time, kept as long as the windows of 5
 *       minutes, 1 hour and 24 hours need them.
 * </ul>
 */
final class Counting extends ContextualProcessor<byte[], byte[], Void, Void> {
    private static final String TAB = "\t";

    private final Run run;
    private final List<WindowStore<String, Long>> buckets = new ArrayList<>();
    private Identities identities;
    private KeyValueStore<String, Long> accounts;
    private KeyValueStore<String, Long> hashtags;

    private Counting(Run run) {
        this.run = run;
    }

    /** Makes the processor of each task and names its stores. */
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
        Set<StoreBuilder<?>> stores = new HashSet<>(Identities.stores(inMemory));
        for (String name : List.of("accounts", "hashtags")) {
            stores.add(
                    Stores.keyValueStoreBuilder(
                                    Identities.keyValue(name, inMemory), Serdes.String(), Serdes.Long())
                            .withCachingEnabled());
        }
        for (Level level : Level.values()) {
            stores.add(
                    Stores.windowStoreBuilder(level.store(inMemory), Serdes.String(), Serdes.Long())
                            .withCachingEnabled());
        }
        return stores;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        super.init(context);
        identities = new Identities(run.rule(), context);
        accounts = context.getStateStore("accounts");
        hashtags = context.getStateStore("hashtags");
        for (Level level : Level.values()) {
            buckets.add(context.getStateStore(level.name()));
        }
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        run.progress().begin();
        identities.begin();
        long seen = 0;
        PreAggregate sums = new PreAggregate();
        for (Events.Event event : Events.decode(record.value())) {
            if (event.kind.equals("clock")) {
                run.progress().advance(event.streamTime);
                continue;
            }
            seen++;
            if (identities.isFirst(event.id)) {
                sums.add(event);
                if (!run.combined()) {
                    store(sums);
                }
            }
        }
        store(sums);
        identities.end(seen);
        run.progress().seen(seen);
    }

    private void store(PreAggregate sums) {
        sums.accounts.forEach((key, count) -> add(accounts, key, count));
        sums.hashtags.forEach((key, count) -> add(hashtags, key, count));
        sums.seconds.forEach(
                (second, counts) -> counts.forEach((key, count) -> addToBuckets(key, second * 1000, count)));
        sums.clear();
    }

    private void addToBuckets(String key, long atMs, long count) {
        for (Level level : Level.values()) {
            WindowStore<String, Long> store = buckets.get(level.ordinal());
            long start = atMs - atMs % level.widthMs;
            Long before = store.fetch(key, start);
            store.put(key, (before == null ? 0 : before) + count, start);
        }
    }

    private static void add(KeyValueStore<String, Long> store, String key, long count) {
        Long before = store.get(key);
        store.put(key, (before == null ? 0 : before) + count);
    }

    /** Counts that update the stores together: those of a record if combined, else those of an event. */
    private static final class PreAggregate {
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
