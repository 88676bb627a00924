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
 * <p>Two stores, each with a changelog: event id -> generation of the partition in which it was met last; and how
 * many events the partition has met, which is what generations are made of. The rule is that of fanpulse
 * (docs/adr/0005): an event is a duplicate if its id was met in the same generation or one of the K before. A
 * generation ends here by its number of events alone: the logs are far shorter than its bound in time.
 */
final class Identities {
    /** Events of a generation, and how many of them are remembered besides the open one. */
    record Rule(long generationEvents, int generations) {}

    private final Rule rule;
    private final KeyValueStore<String, Integer> ids;
    private final KeyValueStore<String, Long> met;
    private long sequence;

    Identities(Rule rule, ProcessorContext<?, ?> context) {
        this.rule = rule;
        ids = context.getStateStore("ids");
        met = context.getStateStore("progress");
    }

    static Set<StoreBuilder<?>> stores(boolean inMemory) {
        // An id is written once, so a cache in front of it would only be passed through.
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
        Long before = met.get("events");
        sequence = before == null ? 0 : before;
    }

    /** Whether the next event of the record is the first with its id within the horizon; remembers it. */
    boolean isFirst(String id) {
        int generation = (int) (sequence / rule.generationEvents());
        if (sequence % rule.generationEvents() == 0 && sequence > 0) {
            forget(generation - rule.generations());
        }
        sequence++;
        Integer last = ids.get(id);
        if (last == null || last != generation) {
            ids.put(id, generation);
        }
        return last == null || last < generation - rule.generations();
    }

    /** A record ends that had so many events. */
    void end(long events) {
        if (events > 0) {
            met.put("events", sequence);
        }
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
}
