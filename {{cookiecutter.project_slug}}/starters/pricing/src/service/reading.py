"""Transactions from CSV, Excel or Parquet, as people have them: found out from the whole file, and refused when in doubt.

The separator comes from the header, the encoding from the bytes, the decimal mark and the order of dates from their whole
column. What allows two readings is refused with the option that decides it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet
from python_calamine import CalamineError

__all__ = ["COLUMNS", "OPTIONAL", "BadData", "read"]

# Those of the UCI Online Retail set: https://archive.ics.uci.edu/dataset/352/online+retail
COLUMNS = ["invoice", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customer", "country", "cost"]
OPTIONAL = {"description", "customer", "country", "cost"}
ALIASES = {"invoiceno": "invoice", "customerid": "customer", "price": "unitprice", "unitcost": "cost"}
SEPARATORS = ",;\t|"
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".parquet")
THOUSANDS = r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?"
UNREADABLE = (ZoneInfoNotFoundError, ValueError, OSError, EOFError, zlib.error, CalamineError, pa.ArrowException)
pa.set_memory_pool(pa.system_memory_pool())  # the others keep what was freed: a gigabyte, of ten million rows
KEPT = pa.dictionary(pa.int32(), pa.string())
DATE = r"^\s*(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d)\d*)?)?)?"
DATE += r"\s*([AaPp][Mm])?\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?\s*$"


class BadData(Exception):
    """The data can't be used; the message says what is wrong, where, and what helps."""


def read(source: str, *, dates: str = "", decimal: str = "", zone: str = "UTC") -> pd.DataFrame:
    """Transactions from a path or ``s3://`` address: ``.csv``, ``.tsv``, ``.txt`` (also ``.gz``), ``.xlsx``, ``.parquet``.

    S3 is read with the usual AWS variables; ``AWS_ENDPOINT_URL`` names an S3 other than Amazon's.

    Args:
        dates: ``dmy`` or ``mdy``, where 3/4/2011 could be either.
        decimal: ``.`` or ``,``, where 1,234 could be either.
        zone: the time zone of the shop, to which times with a time zone are converted; others are taken as they are.

    Returns:
        a frame with ``COLUMNS``: strings, times without a zone, and numbers; missing values stay missing.

    Raises:
        BadData: it can't be read, lacks columns, or allows two readings; the message names row, value and remedy.
    """
    name = source.lower().removesuffix(".gz")
    if not name.endswith(SUFFIXES):
        raise BadData(f"{source} is none of {', '.join(SUFFIXES)}, .csv.gz; export it as one of these")
    try:
        local = ZoneInfo(zone)
        with _opened(source) as raw:
            file = gzip.GzipFile(fileobj=raw) if source.lower().endswith(".gz") else raw
            frame, separator = _frame(file, name)
    except UNREADABLE as error:
        raise BadData(f"{source} can't be read: {str(error).splitlines()[0]}") from error
    names = [str(n) for n in frame.columns]
    frame.columns = pd.Index(map(_column, names))
    if missing := _missing(frame):
        raise BadData(f"{source} lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise BadData(f"{source} has the columns {', '.join(twice)} more than once")
    numbers = [n for n in ("quantity", "unitprice", "cost") if n in frame]
    mark = decimal or _mark([frame[n] for n in numbers], source, separator)
    if mark not in (".", ","):
        raise BadData(f"decimal must be . or , and not {decimal!r}")
    made: dict[str, Any] = {}
    for column in COLUMNS:  # each is taken out of the frame, so that memory holds one form of most of them
        if column not in frame:
            made[column] = np.nan if column == "cost" else pd.Categorical([""]).repeat(len(frame))
        elif column == "invoicedate":
            made[column] = _times(frame.pop(column), source, dates, local)
        elif column in numbers:
            made[column] = _numbers(frame.pop(column), source, mark)
        else:
            made[column] = _text(frame.pop(column))
    return pd.DataFrame(made, index=frame.index, copy=False)


def _column(name: str) -> str:
    """What a column is called here: ``Unit Price`` and ``unit_price`` are ``unitprice``."""
    plain = name.lower().replace(" ", "").replace("_", "").lstrip("\ufeff")
    return ALIASES.get(plain, plain)


def _missing(frame: pd.DataFrame) -> list[str]:
    return sorted(set(COLUMNS) - OPTIONAL - {_column(str(n)) for n in frame.columns})


def _frame(file: Any, name: str) -> tuple[pd.DataFrame, str]:
    """The file's table as it is, and its separator, if it is text. Strings become categories while they are read, since ten
    million rows hold few different ones.
    """
    if name.endswith(".parquet"):
        whole = io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file  # it is read from its end
        fields = [field for field in parquet.read_schema(whole) if _column(field.name) in COLUMNS]
        strings = [f.name for f in fields if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        whole.seek(0)
        table = parquet.read_table(whole, columns=[f.name for f in fields], read_dictionary=strings)
        return table.to_pandas(ignore_metadata=True), ""
    if name.endswith((".xlsx", ".xls")):
        sheets = list(pd.read_excel(io.BytesIO(file.read()), sheet_name=None, engine="calamine", dtype=object).values())
        # UCI's Online Retail II has a sheet for each year.
        return pd.concat([s for s in sheets if not _missing(s)] or sheets[:1], ignore_index=True), ""
    encoding = _encoding(file)
    head = codecs.getincrementaldecoder(encoding)().decode(file.read(65536)).lstrip("\ufeff").splitlines()
    file.seek(0)
    if not head:
        raise ValueError("it is empty")
    separator = max(SEPARATORS, key=head[0].count)
    (names,) = pd.read_csv(io.StringIO(head[0]), sep=separator, dtype=str, header=None).values
    table = csv.read_csv(
        file,
        csv.ReadOptions(encoding=encoding),
        csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        csv.ConvertOptions(column_types=dict.fromkeys(map(str, names), KEPT), strings_can_be_null=True),
    )
    return table.unify_dictionaries().to_pandas(), separator


def _encoding(file: Any) -> str:
    """UTF-8 or UTF-16 if it is; else Windows' Western European, which every byte string is nearly."""
    start = file.read(2)
    file.seek(0)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while piece := file.read(1 << 24):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
        return "utf-8"
    except UnicodeDecodeError:
        return "cp1252"
    finally:
        file.seek(0)


def _each(column: pd.Series[Any]) -> tuple[pd.Index[Any], Any]:
    """The distinct values of a column, and the position of each row's among them; -1 is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.categories, column.cat.codes.to_numpy()
    codes, values = pd.factorize(column)
    return pd.Index(values), codes


def _text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Without outer spaces; 85123.0, as spreadsheets write 85123, is 85123; missing ones are empty."""
    values, codes = _each(column)
    plain = pd.Series(values.astype(str)).str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    own, names = pd.factorize(np.append(plain.to_numpy(dtype=object), ""), sort=True)
    return pd.Series(pd.Categorical.from_codes(own[codes], names), index=column.index)


def _plain(values: pd.Index[Any]) -> pd.Series[str]:
    return pd.Series(values.astype(str)).str.replace("[\\s£$€\xa0]", "", regex=True)


def _mark(columns: list[pd.Series[Any]], source: str, separator: str) -> str:
    """The decimal mark of a file: a quantity of 1.000 is a thousand where a price is 2,55."""
    pointed, doubtful = False, ""
    for column in columns:
        if pd.api.types.is_numeric_dtype(column.dtype):
            continue
        values, codes = _each(column)
        plain = _plain(values)
        comma = plain[plain.str.contains(",", regex=False)]
        if not comma.str.fullmatch(THOUSANDS).all():
            return ","
        pointed |= bool(plain.str.contains(r"\.(?!0+$)(?:\d{1,2}|\d{4,})$", regex=True).any())
        if len(comma) and not doubtful:
            doubtful = f"row {_where(codes, comma.index[0])}: the {column.name} {comma.iloc[0]!r}"
    if pointed or not doubtful:
        return "."
    if separator == ";":
        return ","
    raise BadData(
        f"{source}, {doubtful} is a thousand or a fraction: no other value decides it; give the option decimal=, or decimal=."
    )


def _numbers(column: pd.Series[Any], source: str, mark: str) -> Any:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64)
    values, codes = _each(column)
    plain = _plain(values)
    if mark == ",":
        swapped = plain.str.translate(str.maketrans(".,", ",."))
        if (swapped.str.contains(".", regex=False) | swapped.str.fullmatch(THOUSANDS)).any():  # else 4.0 is only a 4
            plain = swapped
    plain = plain.where(~plain.str.fullmatch(THOUSANDS), plain.str.replace(",", "", regex=False))
    found = pd.to_numeric(plain, errors="coerce")
    wrong = found.isna() & ~plain.str.lower().isin(["", "nan", "none", "null", "na", "<na>"])
    if wrong.any():
        at = wrong.idxmax()
        raise BadData(
            f"{source}, row {_where(codes, at)}: the {column.name} {values[at]!r} is no number; correct the row"
        )
    return np.append(found.to_numpy(dtype=np.float64), np.nan)[codes]


def _times(column: pd.Series[Any], source: str, dates: str, zone: ZoneInfo) -> Any:
    """Times without a zone, in that of the shop."""
    values, codes = _each(column)
    if isinstance(values, pd.DatetimeIndex):
        return _local(values, zone)[codes].where(codes >= 0)
    text = pd.Series(values.astype(str))
    parts = text.str.extract(DATE)
    missing = text.str.strip().str.lower().isin(["", "nan", "none", "null", "nat", "<na>"])
    if (wrong := parts[0].isna() & ~missing).any():
        at = wrong.idxmax()
        raise BadData(
            f"{source}, row {_where(codes, at)}: the date {values[at]!r} is unknown; write dates like 2011-10-09 12:50"
        )
    first, second, third = (pd.to_numeric(parts[i]) for i in range(3))
    leading = parts[0].str.len() == 4
    order = dates.lower() or _order(text[~leading & ~missing], first, second, codes, source)
    if order not in ("dmy", "mdy"):
        raise BadData(f"dates must be dmy or mdy, not {dates!r}")
    day, month = (first, second) if order == "dmy" else (second, first)
    year = first.where(leading, third.where(third >= 100, third + 2000))
    month, day = second.where(leading, month), third.where(leading, day)
    hour = pd.to_numeric(parts[3]).fillna(0)
    half = parts[7].str.lower()
    hour = hour.where(half.isna(), hour % 12 + 12 * (half == "pm"))
    made = pd.to_datetime(
        {
            "year": year, "month": month, "day": day, "hour": hour,
            "minute": pd.to_numeric(parts[4]).fillna(0), "second": pd.to_numeric(parts[5]).fillna(0),
        },
        errors="coerce",
    )  # fmt: skip
    if (wrong := made.isna() & ~missing).any():
        at = wrong.idxmax()
        raise BadData(f"{source}, row {_where(codes, at)}: the date {values[at]!r} does not exist as {order}")
    made += pd.to_timedelta((parts[6] >= "5").astype(int), unit="s")  # as _local rounds
    if parts[8].notna().any():
        offset = parts[8].fillna("Z").str.upper().replace({"Z": "+0000", "UTC": "+0000"}).str.replace(":", "")
        minutes = offset.str[:3].astype(int) * 60 + offset.str[0].map({"+": 1, "-": -1}) * offset.str[3:].astype(int)
        shifted = pd.DatetimeIndex(made - pd.to_timedelta(minutes, unit="min")).tz_localize("UTC")
        made = made.where(parts[8].isna(), pd.Series(_local(shifted, zone)))
    return pd.DatetimeIndex(np.append(made.to_numpy("datetime64[s]"), np.datetime64("NaT"))[codes])


def _order(text: pd.Series[str], first: Any, second: Any, codes: Any, source: str) -> str:
    """``dmy`` or ``mdy``, as the whole column shows it."""
    if text.empty:
        return "dmy"
    days, months = first[text.index] > 12, second[text.index] > 12
    if days.any() and months.any():
        rows = [f"row {_where(codes, mask.idxmax())}: {text[mask.idxmax()]!r}" for mask in (days, months)]
        raise BadData(f"{source} has dates in two orders, {rows[0]} and {rows[1]}; write them like 2011-10-09")
    if not days.any() and not months.any():
        at = text.index[0]
        raise BadData(
            f"{source}, row {_where(codes, at)}: {text[at]!r} is day first or month first, and no date decides it; "
            "give the option dates=dmy or dates=mdy"
        )
    return "dmy" if days.any() else "mdy"


def _local(times: pd.DatetimeIndex, zone: ZoneInfo) -> pd.DatetimeIndex:
    """To the nearest second: spreadsheets keep 08:26 as 08:25:59.999997."""
    local = times if times.tz is None else times.tz_convert(zone).tz_localize(None)
    return (local + pd.Timedelta(milliseconds=500)).floor("s").as_unit("s")


def _where(codes: Any, value: int) -> int:
    """The row of a file, the header being row 1, in which a distinct value is first."""
    return int(np.argmax(codes == value)) + 2


def _opened(source: str) -> BinaryIO | Any:
    """A file to read from, local or in S3."""
    if not source.startswith("s3://"):
        return Path(source).open("rb")
    import os
    from urllib.parse import urlencode

    from pyarrow import fs  # importing it takes a third of a second, and only S3 needs it

    options = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.partition("://")
        options = {"scheme": scheme, "endpoint_override": host.rstrip("/")}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    system, path = fs.FileSystem.from_uri(f"{source}?{urlencode(options)}" if options else source)
    return system.open_input_file(path)
