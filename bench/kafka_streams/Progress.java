import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/** How far a run is: shared by the threads that count and the one that waits for them. */
final class Progress {
    private final long expected;
    private final long presentAtEnd;
    private final AtomicLong met = new AtomicLong();
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

    /** Events have been counted, duplicates among them; the last one stops the clock. */
    void met(long events) {
        if (met.addAndGet(events) == expected) {
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
        return met.get() == expected;
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
