// Character positions: back from rewritten texts, and counting under each class of encoding.
#include "core/position_map.h"

#include <gtest/gtest.h>

#include <string_view>

namespace schemux::core {
namespace {

TEST(PositionMap, AnEmptyMapChangesNothing) {
    const PositionMap map;
    EXPECT_TRUE(map.empty());
    EXPECT_EQ(map.to_original(0), 0U);
    EXPECT_EQ(map.to_original(1), 1U);
    EXPECT_EQ(map.to_original(4711), 4711U);
}

TEST(PositionMap, PositionsBehindAReplacementShiftByItsDifference) {
    PositionMap map;
    map.add(10, 16, 10, 11);  // {{tables.users}} became "app".users
    EXPECT_EQ(map.to_original(10), 10U);
    EXPECT_EQ(map.to_original(22), 27U);
    EXPECT_EQ(map.to_original(30), 35U);
}

TEST(PositionMap, PositionsInsideAReplacementAreItsStart) {
    PositionMap map;
    map.add(10, 16, 10, 11);
    for (std::uint32_t position = 11; position <= 21; ++position)
        EXPECT_EQ(map.to_original(position), 11U) << position;
}

TEST(PositionMap, ReplacementsAddUp) {
    PositionMap map;
    map.add(5, 10, 5, 3);
    map.add(20, 10, 13, 20);
    EXPECT_EQ(map.to_original(9), 16U);
    EXPECT_EQ(map.to_original(13), 20U);
    EXPECT_EQ(map.to_original(14), 21U);
    EXPECT_EQ(map.to_original(33), 21U);
    EXPECT_EQ(map.to_original(34), 31U);
}

TEST(PositionMap, ARemovedTextMapsToWhatFollowedIt) {
    PositionMap map;
    map.add(7, 11, 7, 0);  // {{schema}}. of a service without schema
    EXPECT_EQ(map.to_original(7), 7U);
    EXPECT_EQ(map.to_original(8), 19U);
}

TEST(PositionMap, NoPositionStaysNone) {
    PositionMap map;
    map.add(0, 10, 0, 3);
    EXPECT_EQ(map.to_original(0), 0U);
    map.clear();
    EXPECT_EQ(map.to_original(9), 9U);
}

TEST(EncodingClass, NamesAreTakenInEverySpellingOfPostgresql) {
    for (const std::string_view name : {"UTF8", "utf8", "UTF-8", "'utf-8'", "Unicode", "u_t_f 8"})
        EXPECT_EQ(classify_encoding(name), EncodingClass::utf8) << name;
    for (const std::string_view name :
         {"LATIN1", "iso-8859-1", "ISO_8859_5", "WIN1252", "windows-1252", "SQL_ASCII", "KOI8",
          "koi8-r", "abc", "TCVN", "win", "latin10"})
        EXPECT_EQ(classify_encoding(name), EncodingClass::single_byte) << name;
    for (const std::string_view name : {"EUC_JP", "euc-kr", "EUC_CN", "EUC_JIS_2004"})
        EXPECT_EQ(classify_encoding(name), EncodingClass::euc) << name;
    EXPECT_EQ(classify_encoding("EUC_TW"), EncodingClass::euc_tw);
    EXPECT_EQ(classify_encoding("MULE_INTERNAL"), EncodingClass::mule_internal);
}

TEST(EncodingClass, ClientOnlyAndUnknownEncodingsAreUnsafe) {
    for (const std::string_view name :
         {"SJIS", "Shift_JIS", "mskanji", "WIN932", "SHIFT_JIS_2004", "BIG5", "WIN950", "GBK",
          "WIN936", "UHC", "WIN949", "GB18030", "JOHAB", "", "EBCDIC", "utf9",
          "a name that is far longer than any encoding of any server"})
        EXPECT_EQ(classify_encoding(name), EncodingClass::unsafe) << name;
}

TEST(CountCharacters, FollowsTheEncoding) {
    EXPECT_EQ(count_characters("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", EncodingClass::utf8), 5U);
    EXPECT_EQ(count_characters("a\xc3\xa9", EncodingClass::single_byte), 3U);
    EXPECT_EQ(count_characters("\xa4\xa2\x8e\xb1\x8f\xb0\xa1x", EncodingClass::euc), 4U);
    EXPECT_EQ(count_characters("\x8e\xa2\xa1\xa1\xc4\xe3y", EncodingClass::euc_tw), 3U);
    EXPECT_EQ(count_characters("\x81\xe9\x92\xa4\xa2\x9a\xa0\xa1\x9c\xa0\xa1\xa1x",
                               EncodingClass::mule_internal),
              5U);
}

TEST(CharacterBytes, IsTheFirstCharacterAsFarAsItIsThere) {
    const std::string_view euro = "\xe2\x82\xac";
    const std::string_view smile = "\xf0\x9f\x98\x80";
    EXPECT_EQ(character_bytes(euro, EncodingClass::utf8), 3U);
    EXPECT_EQ(character_bytes(smile, EncodingClass::utf8), 4U);
    EXPECT_EQ(character_bytes("\xc3\xa9x", EncodingClass::utf8), 2U);
    EXPECT_EQ(character_bytes(smile.substr(0, 2), EncodingClass::utf8), 2U);
    EXPECT_EQ(character_bytes(smile.substr(1), EncodingClass::utf8), 1U);
    EXPECT_EQ(character_bytes(euro, EncodingClass::single_byte), 1U);
    EXPECT_EQ(character_bytes(euro, EncodingClass::unsafe), 1U);
    EXPECT_EQ(character_bytes("", EncodingClass::utf8), 0U);
}

TEST(CountCharacters, ACutCharacterCountsOnceAndNothingIsReadBehindTheEnd) {
    EXPECT_EQ(count_characters("a\xf0\x9f", EncodingClass::utf8), 2U);
    EXPECT_EQ(count_characters("\x8e", EncodingClass::euc_tw), 1U);
    EXPECT_EQ(count_characters("", EncodingClass::utf8), 0U);
}

}  // namespace
}  // namespace schemux::core
