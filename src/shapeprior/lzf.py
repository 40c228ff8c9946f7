"""LZF, the compression inside PCD files: Marc Lehmann's LibLZF format, which has no library for Python without a compiler."""

GREATEST_GROWTH = 88
"""No three bytes stand for more than 264."""


def decompress(packed: bytes, size: int) -> bytes:
    """The `size` bytes that LZF packed; raises ValueError if these are none, before it holds more than that.

    A control byte below 32 announces so many bytes, and one, as they are; others stand for bytes that were there before:
    length in the upper three bits (7: and the next byte), less 2; distance in the lower five bits and the next byte, less
    1.
    """
    out, at, end = bytearray(), 0, len(packed)
    try:
        while at < end:
            control = packed[at]
            at += 1
            if control < 32:
                if at + control >= end:
                    raise ValueError("packed bytes end within a run")
                out += packed[at : at + control + 1]
                at += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += packed[at]
                    at += 1
                length += 2
                start = len(out) - ((control & 31) << 8) - packed[at] - 1
                at += 1
                if start < 0:
                    raise ValueError("packed bytes refer to what is not there")
                piece = out[start : start + length]
                if len(piece) < length:
                    # It runs into itself: the last bytes again and again.
                    piece = (piece * (length // len(piece) + 1))[:length]
                out += piece
            if len(out) > size:
                break
    except IndexError:
        raise ValueError("packed bytes end within a reference") from None
    if len(out) != size:
        raise ValueError(f"packed bytes hold {'more' if len(out) > size else len(out)} than the {size} stated")
    return bytes(out)
