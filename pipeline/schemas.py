"""Every table that tamis stores, once, with a comment for each field. Writers cast to these and fail on drift."""

import pyarrow as pa

CAPTIONS = pa.list_(pa.struct([("text", pa.string()), ("source", pa.string())]))
POOL = pa.schema(
    [
        pa.field("sample_id", pa.uint64(), nullable=False),  # 64 bits of xxh3 over (namespace, key)
        pa.field("key", pa.string(), nullable=False),  # the source's own, or the content hash in hex
        pa.field("content_hash", pa.binary(16), nullable=False),  # xxh3-128 of the text, or of the image file's bytes
        pa.field("source", pa.string(), nullable=False),  # file that the sample was read from
        pa.field("position", pa.int64(), nullable=False),  # line (JSONL, CSV), row or tar member in it, from 1
        pa.field("uri", pa.string()),  # where the bytes lie: a file, tar#member, table#field
        pa.field("offset", pa.int64()),  # of a tar member's bytes in its source; null for whole files
        pa.field("text", pa.string()),  # of an image: its first caption, or null
        pa.field("captions", CAPTIONS),  # of an image, the main one first; null for texts
        pa.field("width", pa.int32()),  # pixels as displayed (EXIF rotation applied); images only
        pa.field("height", pa.int32()),  # likewise
        pa.field("n_bytes", pa.int64(), nullable=False),  # of the text in UTF-8, or of the image file
    ]
)  # kept fields follow, with the types that the sources showed

REJECTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # file that the row was read from
        pa.field("position", pa.int64()),  # of the row in it, from 1; null: the whole file
        pa.field("key", pa.string()),  # where it could be read
        pa.field("reason", pa.string(), nullable=False),  # one of REJECT_REASONS
        pa.field("detail", pa.string()),  # what exactly was found
        pa.field("related_id", pa.uint64()),  # the stored sample that this row met
        pa.field("part_group", pa.int32(), nullable=False),  # the group of source files that it was read with
    ]
)

REJECT_REASONS = {
    "bad_json": "the line is not a JSON object",
    "bad_row": "the CSV record has another number of fields than the header",
    "invalid_utf8": "bytes that are not UTF-8",
    "missing_field": "a field that the recipe names is absent or null",
    "wrong_type": "a field has another type than the source's first rows",
    "empty_text": "nothing but white space",
    "truncated": "a packed file or tar ends early or is damaged; what came before is in the pool",
    "unreadable_file": "the file can't be opened or parsed at all",
    "undecodable": "the image can't be decoded to its end",
    "over_limit": "more bytes than a record, or a page, of the source may have (`limits`)",
    "too_many_pixels": "a decompression bomb: more pixels than are unpacked",
    "no_image": "a file or member that is neither an image nor beside one of its name",
    "missing_image": "the image that a table or manifest names is not there",
    "download_failed": "img2dataset could not download it",
    "unsafe_path": "a tar member whose name leaves the tar",
    "not_a_file": "a link, device, pipe or sparse member where a file should be",
    "link": "a link that leaves the pool's folder, leads to nothing or in a circle",
    "trailing_data": "a tar goes on behind its end mark, where no tool of its kind reads on",
    "exact_duplicate": "same key and same content as an earlier sample",
    "key_conflict": "same key as an earlier sample, other content or other captions",
    "id_collision": "another key with the same 64-bit id",
}

SCORES = pa.schema(
    [
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("score", pa.float64()),  # higher is better; NaN: not scorable
        pa.field("order_key", pa.float64()),  # what the choice sorts by: the score, or score plus noise
        pa.field("part", pa.int32(), nullable=False),  # number of the shard in the run's list
        pa.field("cost", pa.int64(), nullable=False),  # in the budget's unit, whole numbers: sums are exact
        pa.field("target", pa.int32(), nullable=False),  # which target the score speaks for
        pa.field("barred", pa.string()),  # reason why it may not be chosen, else null
        pa.field("group_by", pa.binary()),  # what quotas and deduplication group by
        pa.field("tie", pa.string()),  # within a group the smallest goes first
        pa.field("detail", pa.string()),
        pa.field("related_id", pa.uint64()),  # the sample that decided, where the selector knows it
        pa.field("weight", pa.float64()),  # how often it counts if it is chosen, or what it stands for; null: once
    ]
)

SPIKES = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),  # of a sample of the target that the step has not seen
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("score", pa.float64()),  # as if it lay in the pool; what the choice sorts by
        pa.field("above", pa.int64()),  # candidates that would be chosen before it
        pa.field("taken", pa.bool_(), nullable=False),  # whether it would have been kept
        pa.field("reason", pa.string()),  # why it could not be chosen, whatever the budget
    ]
)

LEDGER = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),  # its number in the recipe, from 0
        pa.field("selector", pa.string(), nullable=False),  # its name
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("score", pa.float64()),  # higher is better; null where the step has none
        pa.field("rank", pa.int64()),  # 1 is best; null where the step doesn't rank
        pa.field("weight", pa.float64(), nullable=False),  # repeat count; 1 unless the step weighs
        pa.field("reason", pa.string(), nullable=False),  # one of LEDGER_REASONS
        pa.field("related_id", pa.uint64()),  # the sample that decided (the kept duplicate)
        pa.field("detail", pa.string()),  # what the reason leaves open: the measure, the item, the distance
    ]
)

CHANGES = pa.schema(
    [
        pa.field("change", pa.string(), nullable=False),  # in or out
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("uid", pa.string()),  # the kept field of that name, where there is one
        pa.field("rank", pa.int64(), nullable=False),  # in the selection that has it
        pa.field("weight", pa.float64(), nullable=False),  # there
        pa.field("why", pa.string(), nullable=False),  # in words that can be counted
        pa.field("detail", pa.string()),  # what they leave open: the setting, the step's own words
        pa.field("step", pa.int32()),  # that drops it in the other run
        pa.field("selector", pa.string()),
        pa.field("reason", pa.string()),  # there
        pa.field("related_id", pa.uint64()),  # the sample that decided there
    ]
)

LEDGER_REASONS = {
    "chosen": "ranked within the budget, or kept by a rule",
    "below_cut": "ranked beyond the budget",
    "not_scorable": "the score is not a number",
    "too_short": "fewer tokens than min_length",
    "low_quality": "outside the quality mask",
    "out_of_band": "outside what the step keeps of its column",
    "in_training_slice": "a model that judges it was trained on it",
    "covered": "chosen samples cover what it holds",
    "not_reached": "the budget ended before what it holds was covered",
    "not_a_candidate": "so many others look more like the target that it was not looked at",
    "not_picked": "others were picked before it, until the budget ended",
    "no_objects": "no object that the step covers was proposed in it",
    "unknown": "nothing is known of what it holds",
    "already_labeled": "it has a label",
    "not_labeled": "it has no label that could be wrong",
    "label_stands": "nothing speaks against its label",
    "confirmed": "its label is in doubt, but two rounds gave the same one",
    "believed": "a model is confident of its label",
    "two_classes": "more than one class claims it, so it waits for the next round",
    "in_target": "its text is in the target",
    "unique": "no other candidate has this content",
    "first_of_duplicates": "smallest key among equal contents",
    "duplicate": "equal content, of which one is kept",
    "near_duplicate": "nearly the same as another that stays",
    "in_evaluation": "an evaluation item has it, too",
    "other_language": "its likeliest language is not wanted",
    "language_unsure": "its language is not sure enough",
    "too_small": "the shorter side has too few pixels",
    "over_limit": "the longer side is too many times the shorter",
    "too_dark": "too much of it is black",
    "too_bright": "too much of it is burnt out",
    "near_constant": "it is nearly of one grey",
    "blurred": "it is not sharp enough",
    "below_threshold": "below the score that the step asks for",
    "no_target_near": "nothing of the target lies in its cluster",
    "condition_not_met": "the step's own condition does not hold for it",
    "in_quota": "within its group's quota",
    "over_quota": "beyond its group's quota",
    "no_quota": "its group has no share",
    "not_in_scope": "outside the `where` of a step that chooses, or asked for with `outside: drop`",
    "passed_through": "outside the `where` of a step that keeps or drops by rule, or asked for with `outside: keep`",
    "forgotten": "`tamis forget` named it: no run may choose it",
    "of_the_judge": "selections are judged by it: a text of `judge:` has its content",
    "held_out": "it is of the target's part that is held out to measure on",
    "kept_earlier": "an earlier run of this recipe chose it",
}
KEEPING = ("chosen", "unique", "first_of_duplicates", "in_quota", "passed_through")  # of these; all others drop
