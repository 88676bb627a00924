import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Which events of a source partition are the first with their id.
 *
 * <p>Two stores, each with a changelog: event id -> dedup segment of the partition in which it was last seen; and the
 * number of events that the partition has seen, which decides where segments begin. The rule is that of fanpulse
 * (docs/adr/0005): an event is a duplicate if its id was seen in the same segment or in one of the K before. Here a
 * segment ends by its number of events alone: the logs are far shorter than its bound in time.
 */
final class Identities {
    /** Events of a segment, and how many closed segments are kept besides the open one. */
    record Rule(long segmentEvents, int segments) {}

    private final Rule rule;
    private final KeyValueStore<String, Integer> ids;
    private final KeyValueStore<String, Long> seen;
    private long ordinal;

    Identities(Rule rule, ProcessorContext<?, ?> context) {
        this.rule = rule;
        ids = context.getStateStore("ids");
        seen = context.getStateStore("progress");
    }

    static Set<StoreBuilder<?>> stores(boolean inMemory) {
        // An id is written once, so a cache would save nothing.
        return Set.of(
                Stores.keyValueStoreBuilder(keyValue("ids", inMemory), Serdes.String(), Serdes.Integer()),
                Stores.keyValueStoreBuilder(keyValue("progress", inMemory), Serdes.String(), Serdes.Long())
                        .withCachingEnabled());
    }

    static KeyValueBytesStoreSupplier keyValue(String name, boolean inMemory) {
        return inMemory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
    }

    /** A record begins. */
    void begin() {
        Long before = seen.get("events");
        ordinal = before == null ? 0 : before;
    }

    /** Whether the next event of the record is the first with its id within the dedup window; remembers it. */
    boolean isFirst(String id) {
        int segment = (int) (ordinal / rule.segmentEvents());
        if (ordinal % rule.segmentEvents() == 0 && ordinal > 0) {
            evict(segment - rule.segments());
        }
        ordinal++;
        Integer last = ids.get(id);
        if (last == null || last != segment) {
            ids.put(id, segment);
        }
        return last == null || last < segment - rule.segments();
    }

    /** A record with this many events ends. */
    void end(long events) {
        if (events > 0) {
            seen.put("events", ordinal);
        }
    }

    /** Removes ids that were last seen before a segment. */
    private void evict(int oldest) {
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
}
