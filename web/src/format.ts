const UNITS: [bigint, string][] = [
  [10n ** 15n, "ETH"],
  [10n ** 6n, "gwei"],
];

/** Wei in the unit that shows at least a thousandth of it; exact up to four significant decimals, rounded down. */
export function formatWei(text: string): string {
  const wei = BigInt(text);
  for (const [least, unit] of UNITS) {
    if (wei < least) continue;
    const whole = least * 1000n;
    const decimals = ((wei % whole) * 10000n) / whole;
    return `${(wei / whole).toLocaleString("en")}.${decimals.toString().padStart(4, "0")} ${unit}`;
  }
  return `${wei.toLocaleString("en")} wei`;
}

/** A price of "wei/pixels". */
export function formatPrice(text: string): string {
  const [wei = "0", pixels = "1"] = text.split("/");
  const per = pixels === "1" ? "px" : `${BigInt(pixels).toLocaleString("en")} px`;
  return `${BigInt(wei).toLocaleString("en")} wei/${per}`;
}

export function formatCount(count: number): string {
  return count.toLocaleString("en");
}

export function shortAddress(address: string): string {
  return address.length > 14 ? `${address.slice(0, 8)}…${address.slice(-4)}` : address;
}
