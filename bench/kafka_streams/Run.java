/** What the processors of all tasks share: the settings, and how far the run is. */
record Run(Identities.Rule rule, boolean inMemory, boolean combined, Progress progress) {}
