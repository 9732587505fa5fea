"""Transactions from CSV, Excel or Parquet, as people have them: found out from the whole file, and refused when in doubt.

The separator comes from the header, the encoding from the bytes, the decimal mark and the order of dates from their whole
column. What allows two readings is refused with the option that decides it.
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

__all__ = ["COLUMNS", "OPTIONAL", "BadData", "read"]

# Those of the UCI Online Retail set: https://archive.ics.uci.edu/dataset/352/online+retail
COLUMNS = ["invoice", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customer", "country", "cost"]
OPTIONAL = {"description", "customer", "country", "cost"}
ALIASES = {"invoiceno": "invoice", "customerid": "customer", "price": "unitprice", "unitcost": "cost"}
SEPARATORS = ",;\t|"
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".parquet")
DATE = r"^\s*(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?)?"
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
            file = io.BytesIO(pa.CompressedInputStream(raw, "gzip").read()) if source.lower().endswith(".gz") else raw
            frame, separator = _frame(file, name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pa.ArrowException) as error:
        raise BadData(f"{source} can't be read: {str(error).splitlines()[0]}") from error
    names = [str(n).lower().replace(" ", "").replace("_", "").lstrip("\ufeff") for n in frame.columns]
    frame.columns = pd.Index([ALIASES.get(n, n) for n in names])
    if missing := [n for n in COLUMNS if n not in frame.columns and n not in OPTIONAL]:
        raise BadData(f"{source} lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise BadData(f"{source} has the columns {', '.join(twice)} more than once")
    made = {n: _text(frame[n]) if n in frame else "" for n in ("invoice", "stockcode", "description")}
    made |= {n: _text(frame[n]).astype("category") if n in frame else "" for n in ("customer", "country")}
    made["invoicedate"] = _times(frame["invoicedate"], source, dates, local)
    for number in ("quantity", "unitprice", "cost"):
        made[number] = _numbers(frame[number], source, decimal, separator) if number in frame else np.nan
    return pd.DataFrame(made, index=frame.index)[COLUMNS]


def _frame(file: Any, name: str) -> tuple[pd.DataFrame, str]:
    """The file's table as it is, and its separator, if it is text."""
    if name.endswith(".parquet"):
        return parquet.read_table(file).to_pandas().reset_index(drop=True), ""
    if name.endswith((".xlsx", ".xls")):
        return pd.read_excel(io.BytesIO(file.read()), engine="calamine", dtype=object), ""
    encoding = _encoding(file)
    head = codecs.getincrementaldecoder(encoding)().decode(file.read(65536)).lstrip("\ufeff").splitlines()
    file.seek(0)
    if not head:
        raise ValueError("it is empty")
    separator = max(SEPARATORS, key=head[0].count)
    strings = dict.fromkeys(next(iter(pd.read_csv(io.StringIO(head[0]), sep=separator, dtype=str, header=None).values)))
    table = csv.read_csv(
        file,
        csv.ReadOptions(encoding=encoding),
        csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        csv.ConvertOptions(column_types=dict.fromkeys(map(str, strings), pa.string()), strings_can_be_null=True),
    )
    return table.to_pandas(strings_to_categorical=True), separator


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
    """Strings without outer spaces; 85123.0, as spreadsheets write 85123, is 85123; missing ones are empty."""
    values, codes = _each(column)
    plain = pd.Series(values.astype(str)).str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    taken = np.append(plain.to_numpy(dtype=object), "")[codes]
    return pd.Series(taken, index=column.index).astype("category")


def _numbers(column: pd.Series[Any], source: str, decimal: str, separator: str) -> Any:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64)
    values, codes = _each(column)
    plain = pd.Series(values.astype(str)).str.replace("[\\s£$€\xa0]", "", regex=True)
    comma = plain[plain.str.contains(",", regex=False)]
    mark = decimal or "."
    if len(comma) and not decimal:
        thousands = comma.str.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
        pointed = bool(plain.str.contains(r"\.\d{1,2}$|\.\d{4,}$", regex=True).any())
        if not thousands.all() or (separator == ";" and not pointed):
            mark = ","
        elif not pointed:
            where = _where(codes, comma.index[0])
            raise BadData(
                f"{source}, row {where}: the {column.name} {comma.iloc[0]!r} is a thousand or a fraction: no other value "
                "of the column decides it; give the option decimal=, or decimal=."
            )
    plain = plain.str.replace("." if mark == "," else ",", "", regex=False).str.replace(mark, ".", regex=False)
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
    half = parts[6].str.lower()
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
    if parts[7].notna().any():
        offset = parts[7].fillna("Z").str.upper().replace({"Z": "+0000", "UTC": "+0000"}).str.replace(":", "")
        minutes = offset.str[:3].astype(int) * 60 + offset.str[0].map({"+": 1, "-": -1}) * offset.str[3:].astype(int)
        shifted = pd.DatetimeIndex(made - pd.to_timedelta(minutes, unit="min")).tz_localize("UTC")
        made = made.where(parts[7].isna(), pd.Series(_local(shifted, zone)))
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
    return (times if times.tz is None else times.tz_convert(zone).tz_localize(None)).as_unit("s")


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
