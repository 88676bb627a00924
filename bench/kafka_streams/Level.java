import java.time.Duration;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;

/** Window stores by name: width of their buckets, and how long they are held, in milliseconds. */
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

    WindowBytesStoreSupplier store(boolean inMemory) {
        Duration held = Duration.ofMillis(heldMs);
        Duration width = Duration.ofMillis(widthMs);
        return inMemory
                ? Stores.inMemoryWindowStore(name(), held, width, false)
                : Stores.persistentWindowStore(name(), held, width, false);
    }
}
