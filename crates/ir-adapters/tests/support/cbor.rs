//! As much of CBOR (RFC 8949) as CloudWatch's protocol needs, from and to JSON: for tests.

use serde_json::{Map, Value, json};

/// Reads one value. A time (tag 1) becomes its seconds.
pub(crate) fn decode(bytes: &[u8]) -> Value {
    let mut at = 0;
    let value = item(bytes, &mut at).unwrap();
    assert_eq!(at, bytes.len(), "there is more behind the value");
    value
}

/// The next value; nothing at the mark that ends what has no length.
fn item(bytes: &[u8], at: &mut usize) -> Option<Value> {
    let head = bytes[*at];
    *at += 1;
    if head == 0xff {
        return None;
    }
    let (major, small) = (head >> 5, head & 0x1f);
    let mut big_endian = |n: usize| {
        let number = bytes[*at..*at + n].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        *at += n;
        number
    };
    let argument = match small {
        0..=23 => Some(u64::from(small)),
        24..=27 => Some(big_endian(1 << (small - 24))),
        _ => None,
    };
    let length = argument.map_or(usize::MAX, |n| usize::try_from(n).unwrap());
    Some(match major {
        0 => json!(argument.unwrap()),
        1 => json!(-1 - i64::try_from(argument.unwrap()).unwrap()),
        2 | 3 => {
            let text = String::from_utf8(bytes[*at..*at + length].to_vec()).unwrap();
            *at += length;
            json!(text)
        }
        4 => {
            let mut list = Vec::new();
            while list.len() < length
                && let Some(value) = item(bytes, at)
            {
                list.push(value);
            }
            json!(list)
        }
        5 => {
            let mut map = Map::new();
            while map.len() < length
                && let Some(key) = item(bytes, at)
            {
                map.insert(key.as_str().unwrap().to_owned(), item(bytes, at).unwrap());
            }
            json!(map)
        }
        6 => item(bytes, at).unwrap(),
        _ => match small {
            20 => json!(false),
            21 => json!(true),
            26 => json!(f32::from_bits(u32::try_from(argument.unwrap()).unwrap())),
            27 => json!(f64::from_bits(argument.unwrap())),
            _ => Value::Null,
        },
    })
}

/// Writes a value. Numbers in `Timestamps` become times, and those in `Values` have a fraction, as CloudWatch has them.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, "", &mut bytes);
    bytes
}

fn write(value: &Value, name: &str, bytes: &mut Vec<u8>) {
    let head = |major: u8, n: usize, bytes: &mut Vec<u8>| {
        bytes.push(major << 5 | 26);
        bytes.extend(u32::try_from(n).unwrap().to_be_bytes());
    };
    let float = |number: f64, bytes: &mut Vec<u8>| {
        bytes.push(0xfb);
        bytes.extend(number.to_bits().to_be_bytes());
    };
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(yes) => bytes.push(0xf4 + u8::from(*yes)),
        Value::Number(number) if name == "Timestamps" => {
            bytes.push(0xc1);
            float(number.as_f64().unwrap(), bytes);
        }
        Value::Number(number) => float(number.as_f64().unwrap(), bytes),
        Value::String(text) => {
            head(3, text.len(), bytes);
            bytes.extend(text.as_bytes());
        }
        Value::Array(list) => {
            head(4, list.len(), bytes);
            list.iter().for_each(|value| write(value, name, bytes));
        }
        Value::Object(map) => {
            head(5, map.len(), bytes);
            for (key, value) in map {
                write(&json!(key), "", bytes);
                write(value, key, bytes);
            }
        }
    }
}
