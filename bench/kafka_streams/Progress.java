import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/** How far a run is: shared by the threads that count and the one that waits for them. */
final class Progress {
    private final long expected;
    private final long presentAtEnd;
    private final AtomicLong met = new AtomicLong();
    private final AtomicLong emitted = new AtomicLong();
    private final AtomicLong aggregated = new AtomicLong();
    private final AtomicLong present = new AtomicLong();
    private final AtomicLong startedNanos = new AtomicLong();
    private final CountDownLatch done = new CountDownLatch(1);
    private volatile long startCpuNanos;
    private volatile long endedNanos;
    private volatile long endCpuNanos;

    /** Counting is over at so many events and, at the end of the log, this present in ms. */
    Progress(long expected, long presentAtEnd) {
        this.expected = expected;
        this.presentAtEnd = presentAtEnd;
    }

    /** The first record starts the clock. */
    void begin() {
        if (startedNanos.get() == 0 && startedNanos.compareAndSet(0, System.nanoTime())) {
            startCpuNanos = cpuNanos();
        }
    }

    /** Events have been met, duplicates among them. */
    void met(long events) {
        met.addAndGet(events);
        checkCounted();
    }

    /** Updates have been sent on to be aggregated elsewhere. */
    void emitted(long updates) {
        emitted.addAndGet(updates);
    }

    /** An update that was sent on has arrived. */
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

    /** A clock record says what time it is. */
    void present(long presentMs) {
        present.accumulateAndGet(presentMs, Math::max);
        checkDone();
    }

    private void checkDone() {
        if (complete() && present.get() >= presentAtEnd) {
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
        return met.get() == expected && aggregated.get() == emitted.get();
    }

    long presentMs() {
        return present.get();
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
