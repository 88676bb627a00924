import java.time.Duration;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;

/** Window stores by name: width of their buckets, and how long they are kept, in milliseconds. */
enum Level {
    SECONDS(1_000, 6 * 60_000),
    MINUTES(60_000, 70 * 60_000),
    TENS(600_000, 24 * 3_600_000L + 20 * 60_000);

    final long widthMs;
    final long retentionMs;

    Level(long widthMs, long retentionMs) {
        this.widthMs = widthMs;
        this.retentionMs = retentionMs;
    }

    WindowBytesStoreSupplier store(boolean inMemory) {
        Duration retention = Duration.ofMillis(retentionMs);
        Duration width = Duration.ofMillis(widthMs);
        return inMemory
                ? Stores.inMemoryWindowStore(name(), retention, width, false)
                : Stores.persistentWindowStore(name(), retention, width, false);
    }
}
