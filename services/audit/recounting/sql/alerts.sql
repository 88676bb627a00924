-- What milestones and spikes are recounted from.
--
-- A hit is something that adds to a figure. A series is a metric of a subject.

-- name: records
-- The records of engagement.alerts.v1, in order. $file: a Parquet file.
select "offset", key, value from read_parquet($file) where value is not null order by partition, "offset";

-- name: accepted
-- Readings that are not late, and the figure before each.
create or replace view accepted as
with ordered as (
    select *,
        max(occurred_at_ms) over (
            partition by partition, platform, subject, metric order by record_offset, entry_index
            rows between unbounded preceding and 1 preceding
        ) as newest_ms
    from reported
)
select *,
    lag(value) over (
        partition by partition, platform, subject, metric order by record_offset, entry_index
    ) as before
from ordered where newest_ms is null or occurred_at_ms >= newest_ms;

-- name: account_hit
-- The hits of accounts. A reading adds the change that it makes.
create or replace view account_hit as
select partition, record_offset, entry_index, record_timestamp_ms, occurred_at_ms, platform, account, action,
    quantity
from acted
union all
select partition, record_offset, entry_index, record_timestamp_ms, occurred_at_ms, platform, account,
    'reading:' || metric, value - coalesce(before, 0)
from accepted where post_id is null and broadcast_id is null;

-- name: subject_hit
-- The hits of every subject that can have a milestone. The hits of an account are also those of its platform and
-- of all accounts. part: the contributor that the hit belongs to, an action or, for sums over accounts, an account.
create or replace view subject_hit as
select 'account' as scope, platform as s1, account as s2, partition, record_offset, entry_index,
    record_timestamp_ms, occurred_at_ms, action, quantity, action as part
from account_hit
union all
select 'platform', platform, '', partition, record_offset, entry_index,
    record_timestamp_ms, occurred_at_ms, action, quantity, platform || ':' || account
from account_hit
union all
select 'all_accounts', '', '', partition, record_offset, entry_index,
    record_timestamp_ms, occurred_at_ms, action, quantity, platform || ':' || account
from account_hit
union all
select scope, s1, s2, partition, record_offset, entry_index,
    record_timestamp_ms, occurred_at_ms, action, quantity, action
from subjects('acted') where scope <> 'account';

-- name: metric_hit
-- The hits of each series that has a milestone, once, however many thresholds it has. Only hits with `counts` add
-- to the metric; the others say when the subject was last seen.
create or replace view metric_hit as
with series as (
    select distinct scope, s1, s2, metric, starts_with(metric, 'reading:') as is_reading from wanted
)
select h.* exclude (occurred_at_ms, action), series.metric, is_reading,
    case when is_reading then occurred_at_ms else occurred_at_ms // 1000 * 1000 end as newest_ms,
    action = series.metric
        or series.metric = 'interactions' and list_contains(getvariable('interactions'), action) as counts
from subject_hit as h join series using (scope, s1, s2)
where (is_reading and action = series.metric) or (not is_reading and not starts_with(action, 'reading:'));

-- name: series_hit
-- The same, summed up per record: within a record counts only rise. A reading may fall, so each has its own row.
create or replace table series_hit as
select scope, s1, s2, metric, partition, record_offset, record_timestamp_ms, counts,
    case when counts then part end as part,
    case when is_reading then entry_index else -1 end as entry_index,
    sum(quantity) as quantity, max(newest_ms) as newest_ms
from metric_hit group by all;

-- name: at_its_offsets
-- The figure of each milestone at the offsets that it names, and the newest event time of its subject.
select n, coalesce(sum(quantity) filter (counts), 0) as figure, max(newest_ms) as newest_ms
from wanted
join series_hit as h using (scope, s1, s2, metric)
join wanted_as_of as a using (n, partition)
where h.record_offset <= a.last_offset
group by n;

-- name: parts
-- The contributors of each milestone at the offsets that it names.
select n, part, sum(quantity) as figure
from wanted
join series_hit as h using (scope, s1, s2, metric)
join wanted_as_of as a using (n, partition)
where h.record_offset <= a.last_offset and counts
group by all;

-- name: crossed
-- The record in which a series first reached a threshold (or reached it last: since voids it may do so again), and the figure before that record. Records are taken
-- in order of record time, then of partition and offset.
create or replace table crossed as
with summed_up as (
    select scope, s1, s2, metric, record_timestamp_ms, partition, record_offset, entry_index,
        sum(quantity) as quantity
    from series_hit where counts group by all
),
running as (
    select *,
        sum(quantity) over (
            partition by scope, s1, s2, metric
            order by record_timestamp_ms, partition, record_offset, entry_index
            rows between unbounded preceding and current row
        ) as reached
    from summed_up
),
first as (
    select n,
        arg_min(address, came) as first_address, arg_max(address, came) as latest_address
    from wanted join (
        select *, (record_timestamp_ms, partition, record_offset, entry_index) as came,
            {
                'partition': partition, 'record_offset': record_offset, 'entry_index': entry_index,
                'before': reached - quantity
            } as address
        from running
    ) as running using (scope, s1, s2, metric)
    where reached >= threshold and reached - quantity < threshold
    group by n
)
select wanted.*, address.partition as partition, address.record_offset as record_offset,
    address.entry_index as only_index, address.before as before
from (
    select n, case when latest then latest_address else first_address end as address
    from first join wanted using (n)
) join wanted using (n);

-- name: crossings
-- The event within that record with which the threshold was reached.
with running as (
    select n, threshold, partition, record_offset, h.entry_index,
        before + sum(quantity) over (
            partition by n order by h.entry_index rows between unbounded preceding and current row
        ) as reached
    from metric_hit as h join crossed using (scope, s1, s2, metric, partition, record_offset)
    where counts and only_index in (-1, h.entry_index)
),
first as (
    select n, partition, record_offset, min(entry_index) as entry_index
    from running where reached >= threshold group by all
)
select n, event_id, partition, record_offset, entry_index, occurred_at_ms, record_timestamp_ms
from first join event using (partition, record_offset, entry_index);

-- name: figures_reached
-- Recounted figures of a scope and metric that are at least $least.
with figure as (
    select scope, s1, s2, metric, value from recounted
    where scope not in ('minute', 'reading', 'checkpoint') and metric <> 'last_ms' and not starts_with(metric, 'phase ')
    union all
    select 'account', s1, s2, 'reading:' || metric, value from recounted
    where scope = 'reading' and not starts_with(s2, 'post/') and not starts_with(s2, 'broadcast/')
),
wide as (
    select * from figure
    union all
    select 'platform', s1, '', metric, value from figure where scope = 'account'
    union all
    select 'all_accounts', '', '', metric, value from figure where scope = 'account'
)
select s1, s2, sum(value) as value from wide
where scope = $scope
    and (metric = $metric or $metric = 'interactions' and list_contains(getvariable('interactions'), metric))
group by all having sum(value) >= $least
order by all;

-- name: accounts_of_posts
-- Whose post it is: the account of its first event.
select platform, post_id, arg_min(account, (record_timestamp_ms, partition, record_offset, entry_index))
from acted
where kind = 'interaction' and post_id is not null group by all;

-- name: accounts_of_broadcasts
select broadcast_id, arg_max(account, (record_timestamp_ms, partition, record_offset, entry_index)) from counted
where kind = 'broadcast' group by all;

-- name: minutes
-- The counts of each minute over all partitions.
select broadcast_id, start_ms, action, sum(quantity) from minute group by all;

-- name: phases
-- The phases of broadcasts, in the order of the log.
select broadcast_id, partition, record_offset, phase, occurred_at_ms, account from counted
where kind = 'broadcast' order by partition, record_offset, entry_index;

-- name: stream_time_at
-- Stream time of a partition at an offset.
select max(stream_time_ms) from non_event where partition = $partition and record_offset <= $last_offset;

-- name: minute_closed_at
-- The record time at which stream time of the last partition had passed a bound.
select max(record_timestamp_ms) from (
    select min(record_timestamp_ms) as record_timestamp_ms
    from non_event where max_stream_time_ms >= $bound_ms group by partition
);
