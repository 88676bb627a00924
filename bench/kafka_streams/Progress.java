import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/** How far a run is: shared by the counting threads and the thread that waits for them. */
final class Progress {
    private final long expected;
    private final long streamTimeAtEnd;
    private final AtomicLong seen = new AtomicLong();
    private final AtomicLong emitted = new AtomicLong();
    private final AtomicLong aggregated = new AtomicLong();
    private final AtomicLong streamTime = new AtomicLong();
    private final AtomicLong startedNanos = new AtomicLong();
    private final CountDownLatch done = new CountDownLatch(1);
    private volatile long startCpuNanos;
    private volatile long endedNanos;
    private volatile long endCpuNanos;

    /** The run is over after this many events and, at the end of the log, at this stream time in ms. */
    Progress(long expected, long streamTimeAtEnd) {
        this.expected = expected;
        this.streamTimeAtEnd = streamTimeAtEnd;
    }

    /** The first record starts the clock. */
    void begin() {
        if (startedNanos.get() == 0 && startedNanos.compareAndSet(0, System.nanoTime())) {
            startCpuNanos = cpuNanos();
        }
    }

    /** Events have been read, duplicates included. */
    void seen(long events) {
        seen.addAndGet(events);
        checkCounted();
    }

    /** Updates have been sent to the repartition topic. */
    void emitted(long updates) {
        emitted.addAndGet(updates);
    }

    /** An update from the repartition topic has been aggregated. */
    void aggregated() {
        aggregated.incrementAndGet();
        checkCounted();
    }

    /** The last event stops the clock. */
    private void checkCounted() {
        if (complete() && endedNanos == 0) {
            endedNanos = System.nanoTime();
            endCpuNanos = cpuNanos();
        }
        checkDone();
    }

    /** A clock record advances stream time. */
    void advance(long streamTimeMs) {
        streamTime.accumulateAndGet(streamTimeMs, Math::max);
        checkDone();
    }

    private void checkDone() {
        if (complete() && streamTime.get() >= streamTimeAtEnd) {
            done.countDown();
        }
    }

    /** Waits until all is counted, or until an error ends the run. */
    void await() throws InterruptedException {
        done.await();
    }

    /** Ends the wait early. */
    void fail() {
        done.countDown();
    }

    boolean complete() {
        return seen.get() == expected && aggregated.get() == emitted.get();
    }

    long streamTimeMs() {
        return streamTime.get();
    }

    double seconds() {
        return (endedNanos - startedNanos.get()) / 1e9;
    }

    double cpuSeconds() {
        return (endCpuNanos - startCpuNanos) / 1e9;
    }

    private static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean)
                        java.lang.management.ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }
}
