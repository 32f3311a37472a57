"""Whether what a mapped Arrow file says of its own bytes is true: Arrow believes it, and who follows an offset that
leads elsewhere reads other memory, or ends.

Values are looked at as bytes: texts that are no UTF-8 and dates that no calendar has are found later, row by row."""

import pyarrow as pa


def require_sound(array: pa.Array) -> None:
    """Raises ArrowInvalid where offsets or places in a dictionary lead out of the array."""
    array.validate()
    if pa.types.is_dictionary(array.type):
        require_sound(array.dictionary)
        pa.DictionaryArray.from_arrays(array.indices, pa.nulls(len(array.dictionary)))
    else:
        bare = bare_of(array.type)
        (array if bare == array.type else array.view(bare)).validate(full=True)


def require_names(field: pa.Field) -> None:
    """Raises UnicodeDecodeError where its name, or one inside of it, is no text."""
    _ = field.name
    if pa.types.is_nested(field.type):
        for number in range(field.type.num_fields):
            require_names(field.type.field(number))


def bare_of(kind: pa.DataType) -> pa.DataType:
    """The type of the same bytes that any values may have."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    if pa.types.is_temporal(kind) and kind.bit_width <= 64:
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_decimal(kind):
        return pa.binary(kind.byte_width)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(bare_of(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(bare_of(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(bare_of(kind.value_type)), kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(bare_of(kind.key_type)), kind.item_field.with_type(bare_of(kind.item_type))
        )
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(bare_of(kind.field(i).type)) for i in range(kind.num_fields)])
    return kind
