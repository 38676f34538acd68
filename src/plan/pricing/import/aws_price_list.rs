//! The AWS price list for EC2 (`index.json` of an offer, of all regions or of one):
//! gigabytes of JSON, read as a stream of which only the machines in question stay.
//! <https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-an-offer.html>

use super::{
    ImportContext, Imported, ImportedPrice, Rows,
    offers::{Row, Taker},
};
use crate::error::{Error, Result};
use crate::units::UsdPerHour;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use std::{borrow::Cow, collections::HashMap, fmt, io::Read};

/// Reads an `index.json`.
///
/// # Errors
/// It is not such a list, or breaks off.
pub fn aws_price_list(from: impl Read, context: ImportContext<'_>) -> Result<Imported> {
    let mut list = List {
        taker: Taker::new(context),
        rows: Rows::default(),
        machines: HashMap::new(),
        terms_before_products: false,
        offer: None,
    };
    let mut json =
        serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(1 << 16, from));
    Top(&mut list).deserialize(&mut json).map_err(|error| {
        if error.is_io() {
            Error::machine(format!("cannot read the AWS price list: {error}"))
        } else {
            Error::bad_input(format!("the AWS price list cannot be read: {error}"))
        }
    })?;
    if list.offer.as_deref() != Some("AmazonEC2") {
        return Err(Error::bad_input(match &list.offer {
            Some(other) => format!("this is the price list of {other}, not of AmazonEC2"),
            None => "this is no AWS price list: it names no offer".to_owned(),
        }));
    }
    if list.terms_before_products {
        return Err(
            Error::bad_input("the AWS price list has its terms before its products")
                .hint("take the `index.json` as AWS publishes it"),
        );
    }
    let dated = list.taker.imported.dated;
    list.taker.imported.rows = list.rows;
    let mut imported = list.taker.finish();
    imported.dated = dated;
    Ok(imported)
}

/// What is kept while the list goes by.
struct List<'c> {
    taker: Taker<'c>,
    rows: Rows,
    /// Machine type and region by stock-keeping unit.
    machines: HashMap<String, (String, String)>,
    terms_before_products: bool,
    offer: Option<String>,
}

/// A product; strings own only what is escaped.
#[derive(Debug, Deserialize)]
struct Product {
    #[serde(rename = "productFamily", default)]
    family: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Attributes {
    instance_type: String,
    region_code: String,
    location: String,
    vcpu: String,
    memory: String,
    gpu: String,
    tenancy: String,
    operating_system: String,
    pre_installed_sw: String,
    capacitystatus: String,
    license_model: String,
    location_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfferTerm {
    #[serde(default)]
    price_dimensions: HashMap<String, Dimension>,
    #[serde(default)]
    term_attributes: TermAttributes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    #[serde(default)]
    unit: String,
    #[serde(default)]
    price_per_unit: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TermAttributes {
    lease_contract_length: String,
    offering_class: String,
    purchase_option: String,
}

impl List<'_> {
    fn product(&mut self, sku: &str, product: Option<Product>) {
        self.rows.read += 1;
        match product
            .ok_or_else(|| "a broken product".to_owned())
            .and_then(|p| self.machine(p))
        {
            Ok(machine) => {
                self.rows.taken += 1;
                self.machines.insert(sku.to_owned(), machine);
            }
            Err(why) => self.rows.leave(why, || format!("product {sku}")),
        }
    }

    fn machine(&mut self, product: Product) -> Result<(String, String), String> {
        let is = product.attributes;
        if !product.family.starts_with("Compute Instance") {
            return Err("not a machine".to_owned());
        }
        if is.operating_system != "Linux" || !matches!(is.pre_installed_sw.as_str(), "NA" | "") {
            return Err("another operating system than bare Linux".to_owned());
        }
        if is.tenancy != "Shared" {
            return Err("dedicated or host tenancy".to_owned());
        }
        if !matches!(is.capacitystatus.as_str(), "Used" | "") {
            return Err("a capacity reservation".to_owned());
        }
        if !matches!(is.license_model.as_str(), "No License required" | "") {
            return Err("with a licence".to_owned());
        }
        if !matches!(is.location_type.as_str(), "AWS Region" | "") {
            return Err("not in a region (a local or wavelength zone)".to_owned());
        }
        let region = match region_of(&is) {
            Some(region) => region.into_owned(),
            None => return Err("a region without a code".to_owned()),
        };
        if !self.taker.wants_region(&region) {
            return Err("another region than asked for".to_owned());
        }
        let gpus: f64 = is.gpu.parse().unwrap_or(0.0);
        let row = Row {
            machine: &is.instance_type,
            region: &region,
            vcpus: is.vcpu.parse().ok(),
            memory_gib: is
                .memory
                .strip_suffix(" GiB")
                .and_then(|n| n.replace(',', "").parse().ok()),
            gpu: (gpus > 0.0).then_some(("", gpus, None)),
            ..Row::default()
        };
        self.taker.machine(&is.instance_type, &row)?;
        Ok((is.instance_type, region))
    }

    fn term(&mut self, sku: &str, term: &OfferTerm) {
        let Some((machine, region)) = self.machines.get(sku) else {
            return;
        };
        let is = &term.term_attributes;
        // Nothing upfront, not to be exchanged: the price that can be compared by the hour.
        let plain = is.offering_class == "standard" && is.purchase_option == "No Upfront";
        let which = match is.lease_contract_length.as_str() {
            "" => 0,
            "1yr" | "1 yr" if plain => 1,
            "3yr" | "3 yr" if plain => 3,
            _ => return,
        };
        let hourly = term
            .price_dimensions
            .values()
            .find(|d| d.unit.eq_ignore_ascii_case("hrs"));
        let price = hourly
            .and_then(|d| d.price_per_unit.get("USD"))
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|price| price.is_finite() && *price > 0.0)
            .map(UsdPerHour::saturating);
        let Some(price) = price else {
            self.rows
                .leave("no price in US dollars (or 0, which is none)", || {
                    format!("product {sku}")
                });
            return;
        };
        let slot: &mut ImportedPrice = self
            .taker
            .imported
            .prices
            .entry(region.clone())
            .or_default()
            .entry(machine.clone())
            .or_default();
        match which {
            0 => slot.on_demand = slot.on_demand.max(Some(price)),
            1 => slot.reserved_1y = Some(price),
            _ => slot.reserved_3y = Some(price),
        }
    }
}

/// Old lists name regions only in words; those of the United States stand for the most.
fn region_of(attributes: &Attributes) -> Option<Cow<'_, str>> {
    if !attributes.region_code.is_empty() {
        return Some(Cow::Borrowed(&attributes.region_code));
    }
    let code = match attributes.location.as_str() {
        "US East (N. Virginia)" => "us-east-1",
        "US East (Ohio)" => "us-east-2",
        "US West (N. California)" => "us-west-1",
        "US West (Oregon)" => "us-west-2",
        _ => return None,
    };
    Some(Cow::Borrowed(code))
}

/// The list itself.
struct Top<'l, 'c>(&'l mut List<'c>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AWS price list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "offerCode" => self.0.offer = Some(map.next_value()?),
                "publicationDate" => {
                    let text: String = map.next_value()?;
                    self.0.taker.imported.dated = text.get(..10).and_then(|day| day.parse().ok());
                }
                "products" => map.next_value_seed(Products(self.0))?,
                "terms" => {
                    self.0.terms_before_products |= self.0.rows.read == 0;
                    map.next_value_seed(Terms(self.0, Depth::Kind))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// `{ SKU: product, … }`.
struct Products<'l, 'c>(&'l mut List<'c>);

impl<'de> DeserializeSeed<'de> for Products<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Products<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("products by SKU")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(sku) = map.next_key::<String>()? {
            // A product of another shape is one row that is left.
            let product: Box<serde_json::value::RawValue> = map.next_value()?;
            self.0
                .product(&sku, serde_json::from_str(product.get()).ok());
        }
        Ok(())
    }
}

/// How deep in `{ OnDemand: { SKU: { CODE: term } } }` we are.
enum Depth {
    Kind,
    Sku,
}

/// `{ OnDemand: …, Reserved: … }` or what is in it.
struct Terms<'l, 'c>(&'l mut List<'c>, Depth);

impl<'de> DeserializeSeed<'de> for Terms<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Terms<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("terms by kind and SKU")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.1 {
                Depth::Kind => map.next_value_seed(Terms(self.0, Depth::Sku))?,
                Depth::Sku if !self.0.machines.contains_key(&key) => {
                    map.next_value::<IgnoredAny>()?;
                }
                Depth::Sku => {
                    let text: Box<serde_json::value::RawValue> = map.next_value()?;
                    match serde_json::from_str::<HashMap<String, OfferTerm>>(text.get()) {
                        Ok(terms) => terms.values().for_each(|term| self.0.term(&key, term)),
                        Err(_) => self
                            .0
                            .rows
                            .leave("a broken term", || format!("product {key}")),
                    }
                }
            }
        }
        Ok(())
    }
}
