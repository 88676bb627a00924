-- Published figures against recounted ones.

-- name: differing
-- The figures of a partition that are not the same.
create or replace table differing as
select partition, scope, s1, s2, metric, p.value as published, r.value as recounted
from published as p full join recounted as r using (partition, scope, s1, s2, metric)
where p.value is distinct from r.value;

-- name: differences
-- Each figure that differs in some partition, with its sums over all partitions: people know the sums.
with named as (
    select distinct scope, s1, s2, metric from differing
),
p as (
    select scope, s1, s2, metric, sum(value) as total
    from published semi join named using (scope, s1, s2, metric) group by all
),
r as (
    select scope, s1, s2, metric, sum(value) as total
    from recounted semi join named using (scope, s1, s2, metric) group by all
),
parts as (
    select scope, s1, s2, metric,
        list({'partition': partition, 'published': published, 'recounted': recounted} order by partition) as parts
    from differing group by all
)
select scope, s1, s2, metric, p.total as published, r.total as recounted, parts
from parts left join p using (scope, s1, s2, metric) left join r using (scope, s1, s2, metric)
order by
    list_position(
        ['checkpoint', 'account', 'hashtag', 'campaign', 'country', 'format', 'vip', 'post', 'broadcast', 'minute',
            'reading'],
        scope
    ) nulls first,
    s1, s2, metric;

-- name: rolling_differences
select partition, width_ms, start_ms, scope, s1, s2, action, p.value as published, r.value as recounted
from published_rolling as p full join rolling as r
    using (partition, width_ms, start_ms, scope, s1, s2, action)
where p.value is distinct from r.value
order by scope, s1, s2, action, start_ms, partition;

-- name: left_open
-- Minutes that are published as open, although stream time of their partition has passed their end.
select partition, s1, s2
from published_entry join checkpoint using (partition)
where scope = 'minute' and coalesce(value ->> 'closed', '') <> 'true'
    and try_cast(s2 as bigint) + getvariable('closing_ms') <= checkpoint.stream_time_ms
order by all;

-- name: checkpoints
select partition, last_offset from checkpoint order by all;

-- name: events_by_partition
select partition, count(*) from event group by all;

-- name: entries_by_partition
select partition, sum(found)::bigint from record group by all;

-- name: unreadable
select partition, key from unreadable order by all;

-- name: gaps
-- The entries of a record are numbered without gaps: a gap is an entry that was taken out of an export.
select partition, record_offset, found, size from record
where found <> size order by partition, record_offset limit 100;

-- name: counts
-- How many events there are up to the checkpoints, and how many figures are compared.
select
    coalesce(sum(value) filter (metric = 'ordinal'), 0)::bigint as events,
    coalesce(sum(value) filter (metric = 'counted'), 0)::bigint as counted,
    coalesce(sum(value) filter (metric = 'duplicates'), 0)::bigint as duplicates,
    coalesce(sum(value) filter (metric = 'rejected'), 0)::bigint as rejected,
    coalesce(sum(value) filter (metric = 'late'), 0)::bigint as late,
    (
        select count(*) from (
            select partition, scope, s1, s2, metric from published
            union
            select partition, scope, s1, s2, metric from recounted
        )
    ) as figures,
    (
        select count(*) from published_rolling full join rolling
            using (partition, width_ms, start_ms, scope, s1, s2, action)
    ) as rolling
from recounted where scope = 'checkpoint';

-- name: uncounted
-- Events after the checkpoints, which are not counted yet.
select partition, count(*) from event join checkpoint using (partition) where record_offset > last_offset
group by all order by all;

-- name: followed_in_part
-- Readings whose history is not known from the first one on.
select count(*) from published_entry
where scope = 'reading' and (value ->> 'first' is null or value ->> 'since' is not null);

-- name: dedup_windows
select partition, segment_events, segments, segment_ms from dedup_window order by all;

-- name: window_totals
-- Actions of accounts and hashtags with event times from $from_ms up to, but without, $to_ms.
with inside as (
    select acted.* from acted join checkpoint using (partition)
    where record_offset <= last_offset
        and ($from_ms::bigint is null or occurred_at_ms >= $from_ms)
        and ($to_ms::bigint is null or occurred_at_ms < $to_ms)
),
named as (
    select 'account' as scope, platform as s1, account as s2, action, quantity from inside
    union all
    select 'hashtag', unnest(hashtags), '', action, quantity from inside
)
select scope, s1, s2, action, sum(quantity) from named group by all order by all;

-- name: strays
-- What is in several partitions and belongs to one: an id that counts more than once, the readings of a figure,
-- the phases of a broadcast. The first 100 of each.
with strayed_hash as (
    select id_hash from event where kind in ('interaction', 'post')
    group by id_hash having min(partition) <> max(partition)
),
id as (
    select 'id' as kind, event_id as name, list_sort(list(distinct partition)) as partitions
    from counted semi join strayed_hash using (id_hash) join checkpoint using (partition)
    where kind in ('interaction', 'post') and record_offset <= last_offset
    group by event_id having min(partition) <> max(partition)
    order by name limit 100
),
figure as (
    select 'reading' as kind, concat_ws(' ', platform, subject, metric) as name,
        list_sort(list(distinct partition)) as partitions
    from reported join checkpoint using (partition) where record_offset <= last_offset
    group by platform, subject, metric having min(partition) <> max(partition)
    order by name limit 100
),
phases as (
    select 'broadcast' as kind, broadcast_id as name, list_sort(list(distinct partition)) as partitions
    from counted join checkpoint using (partition)
    where kind = 'broadcast' and record_offset <= last_offset
    group by broadcast_id having min(partition) <> max(partition)
    order by name limit 100
)
select * from id union all select * from figure union all select * from phases;

-- name: gap_notes
-- Records that were removed before they were counted, and ids that were forgotten, by the checkpoints.
select partition, entry ->> 'gaps' as gaps, coalesce(try_cast(entry ->> 'forgotten_ids' as bigint), 0) as forgotten
from checkpoint order by partition;
